//! Who asks: the identity that a query is judged by. It comes from a token that the user's organisation signed; checking
//! that signature is not done here.

/// A person as the person's organisation vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// The person's name, unique in the federation (usually an e-mail address).
    pub user: String,
    /// The organisation that signed the identity.
    pub organisation: String,
    /// Roles that this organisation gave the person.
    pub roles: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Grantee;

    #[test]
    fn e1_a_grant_on_a_role_covers_whom_their_organisation_puts_below_it() {
        let with = |roles: &[&str]| Requester {
            user: "ann@uva.nl".into(),
            organisation: "uva".into(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        };
        let analyst = |organisation: Option<&str>| Grantee::Role {
            role: "analyst".into(),
            organisation: organisation.map(str::to_owned),
        };
        let senior = with(&["senior_analyst", "analyst"]);
        assert!(analyst(None).matches(&senior) && analyst(Some("uva")).matches(&senior));
        assert!(!analyst(Some("vu")).matches(&senior), "vu did not say so");
        assert!(!analyst(None).matches(&with(&["senior_analyst"])), "a name says nothing of what it is below");
    }
}
