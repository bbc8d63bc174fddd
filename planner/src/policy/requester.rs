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
