//! What a federation consists of, before any of its files exist.

/// Places, agreements and people.
#[derive(Clone, Debug, Default)]
pub struct Design {
    /// The sites that hold data, in the order in which they are started.
    pub stewards: Vec<Steward>,
    /// The sites that only compute.
    pub providers: Vec<Provider>,
    /// Tables that several stewards hold parts of.
    pub federated: Vec<FederatedTable>,
    /// Everybody who can log in.
    pub people: Vec<Person>,
    /// What is in `[limits]` of every site's configuration, TOML; the defaults if it is empty.
    pub site_limits: String,
}

/// A site with data. It is also an organisation that vouches for its users.
#[derive(Clone, Debug)]
pub struct Steward {
    /// Name of the place.
    pub name: String,
    /// The `[[tables]]` of its configuration, TOML; paths are relative to the site's folder.
    pub tables: String,
    /// Its agreements as SQL, one statement a file.
    pub agreements: Vec<String>,
}

/// A site that computes and holds nothing.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Name of the place.
    pub name: String,
}

/// A table in parts, asked for as `schema.table`.
#[derive(Clone, Debug)]
pub struct FederatedTable {
    /// Schema of the whole and of every part.
    pub schema: String,
    /// Name of the whole and of every part.
    pub table: String,
    /// Who holds a part.
    pub stewards: Vec<String>,
}

/// A user.
#[derive(Clone, Debug)]
pub struct Person {
    /// Log-in name.
    pub user: String,
    /// Who vouches for the user: a steward, or an organisation without a site.
    pub organisation: String,
    /// Role by which agreements know the user.
    pub role: String,
    /// Purpose that the user may declare.
    pub purpose: String,
}

impl Design {
    /// Every organisation that vouches for users: the stewards, then those without a site.
    pub fn organisations(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.stewards.iter().map(|steward| steward.name.as_str()).collect();
        for person in &self.people {
            if !all.contains(&person.organisation.as_str()) {
                all.push(&person.organisation);
            }
        }
        all
    }

    /// Every site's name: stewards first, then providers.
    pub fn sites(&self) -> impl Iterator<Item = &str> {
        let stewards = self.stewards.iter().map(|steward| steward.name.as_str());
        stewards.chain(self.providers.iter().map(|provider| provider.name.as_str()))
    }
}
