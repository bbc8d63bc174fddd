//! `docs/configuration.md` and the files of `docs/samples` against the code that reads them: the page has a row for every key
//! and no other, its defaults are those of the code, and all that it shows is loaded as an operator's file is.
//!
//! Which keys there are is asked of the code: an unknown key is refused with the names of the known ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dynamos_coordinator::config::CoordinatorConfig;
use dynamos_site::SiteConfig;
use toml::{Table, Value};

/// No role has a key of this name.
const UNKNOWN: &str = "no_such_key";
/// Maps whose keys are the operator's own.
const FREE: [&str; 1] = ["tables.colocated_on"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Site,
    Coordinator,
}

/// What a role reads from its file.
#[derive(Debug, PartialEq)]
enum Loaded {
    Site(Box<SiteConfig>),
    Coordinator(Box<CoordinatorConfig>),
}

/// What a row of the page says of a key that is left out.
#[derive(Clone, Debug, PartialEq)]
enum Default {
    Required,
    None,
    /// As many as the machine has cores.
    Cores,
    Value(Value),
}

/// By section, and by key in it. A section within another is called as `tables.columns`, the file itself by an empty text.
type Rows = BTreeMap<String, BTreeMap<String, Default>>;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

fn page() -> String {
    std::fs::read_to_string(docs("configuration.md")).unwrap()
}

impl Role {
    fn heading(self) -> &'static str {
        match self {
            Self::Site => "## A site",
            Self::Coordinator => "## The coordinator",
        }
    }

    /// The sample that shows every key.
    fn sample(self) -> Table {
        let name = match self {
            Self::Site => "samples/site.toml",
            Self::Coordinator => "samples/coordinator.toml",
        };
        std::fs::read_to_string(docs(name)).unwrap().parse().unwrap()
    }

    fn load_file(self, path: &Path) -> Result<Loaded, String> {
        match self {
            Self::Site => SiteConfig::load(path).map(Box::new).map(Loaded::Site).map_err(|error| error.to_string()),
            Self::Coordinator => {
                CoordinatorConfig::load(path).map(Box::new).map(Loaded::Coordinator).map_err(|error| error.to_string())
            }
        }
    }

    /// Loads a file of this content, always from the same folder.
    fn load(self, content: &Table) -> Result<Loaded, String> {
        let folder = std::env::temp_dir().join("dynamos configuration");
        std::fs::create_dir_all(&folder).unwrap();
        let file = tempfile::NamedTempFile::new_in(&folder).unwrap();
        std::fs::write(file.path(), toml::to_string(content).unwrap()).unwrap();
        self.load_file(file.path())
    }

    /// The keys that the code knows in a section: those that it names beside one that it does not know.
    fn known(self, section: &str) -> BTreeSet<String> {
        let mut content = self.sample();
        let table = tables(&mut content, section).into_iter().next();
        let table = table.unwrap_or_else(|| panic!("the sample of {self:?} has no `{section}`"));
        table.insert(UNKNOWN.to_owned(), Value::Boolean(true));
        let error = self.load(&content).unwrap_err();
        let (_, known) = error
            .split_once(&format!("unknown field `{UNKNOWN}`, "))
            .unwrap_or_else(|| panic!("`{section}` takes an unknown key: {error}"));
        known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// The rows of the page about this role.
    fn rows(self) -> Rows {
        let mut rows = Rows::from([(String::new(), BTreeMap::new())]);
        let mut section = String::new();
        let page = page();
        let lines = page.lines().skip_while(|line| *line != self.heading()).skip(1);
        for line in lines.take_while(|line| !line.starts_with("## ")) {
            if let Some(name) = line.strip_prefix("### ") {
                section = name.split('`').nth(1).unwrap_or_default().trim_matches(['[', ']']).to_owned();
            } else if let Some(name) = line.strip_prefix("#### `") {
                section = format!("{}.{}", section.split('.').next().unwrap(), name.trim_end_matches('`'));
            } else if let Some(row) = line.strip_prefix("| `") {
                let (key, rest) = row.split_once("` | ").unwrap();
                let (meaning, default) = rest.trim_end_matches(" |").rsplit_once(" | ").unwrap();
                assert!(meaning.ends_with('.'), "`{key}`: {meaning}");
                let old = rows.entry(section.clone()).or_default().insert(key.to_owned(), read_default(default));
                assert_eq!(old, None, "`{section}` has two rows for `{key}`");
            }
        }
        rows
    }
}

fn read_default(text: &str) -> Default {
    match text {
        "required" => Default::Required,
        "none" => Default::None,
        "cores" => Default::Cores,
        _ => {
            let written: Table = format!("default = {}", text.trim_matches('`')).parse().unwrap();
            Default::Value(written["default"].clone())
        }
    }
}

impl Default {
    /// The value that may as well be written.
    fn value(&self) -> Option<Value> {
        match self {
            Self::Required | Self::None => None,
            Self::Cores => {
                let cores = std::thread::available_parallelism().unwrap().get();
                Some(Value::Integer(i64::try_from(cores).unwrap()))
            }
            Self::Value(value) => Some(value.clone()),
        }
    }

    /// Whether a sample would show more with something in it.
    fn is_empty(&self) -> bool {
        match self {
            Self::Value(Value::Array(values)) => values.is_empty(),
            Self::Value(Value::Table(values)) => values.is_empty(),
            _ => false,
        }
    }
}

/// All tables of a section.
fn tables<'a>(content: &'a mut Table, section: &str) -> Vec<&'a mut Table> {
    let mut found = vec![content];
    for name in section.split('.').filter(|name| !name.is_empty()) {
        let inner = found.into_iter().filter_map(|table| table.get_mut(name));
        found = inner
            .flat_map(|value| match value {
                Value::Table(table) => vec![table],
                Value::Array(values) => values.iter_mut().filter_map(Value::as_table_mut).collect(),
                _ => Vec::new(),
            })
            .collect();
    }
    found
}

/// The sections that the code knows, by what the sample has in them.
fn sections(role: Role) -> Vec<String> {
    let mut sections = vec![String::new()];
    let mut next = 0;
    while let Some(section) = sections.get(next).cloned() {
        next += 1;
        for key in role.known(&section) {
            let inner = if section.is_empty() { key } else { format!("{section}.{key}") };
            if !FREE.contains(&inner.as_str()) && !tables(&mut role.sample(), &inner).is_empty() {
                sections.push(inner);
            }
        }
    }
    sections
}

#[test]
fn every_key_has_a_row_and_every_row_a_key() {
    for role in [Role::Site, Role::Coordinator] {
        let rows = role.rows();
        let sections = sections(role);
        assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), sections.iter().cloned().collect(), "{role:?}");
        for section in &sections {
            // At the top of the file the headings of sections stand for their keys.
            let outermost = |name: &&String| section.is_empty() && !name.is_empty() && !name.contains('.');
            let headings = sections.iter().filter(outermost);
            let written: BTreeSet<String> = rows[section].keys().chain(headings).cloned().collect();
            assert_eq!(written, role.known(section), "rows of `{section}` and keys of {role:?}");
        }
    }
}

#[test]
fn what_the_page_says_of_a_key_that_is_left_out_is_true() {
    for role in [Role::Site, Role::Coordinator] {
        for (section, rows) in role.rows() {
            for (key, default) in rows {
                let with = |value: Option<Value>| {
                    let mut content = role.sample();
                    let table = tables(&mut content, &section).into_iter().next().unwrap();
                    table.remove(&key);
                    table.extend(value.map(|value| (key.clone(), value)));
                    role.load(&content)
                };
                let (left_out, missing) = (with(None), format!("missing field `{key}`"));
                let is_missing = left_out.as_ref().is_err_and(|error| error.contains(&missing));
                assert_eq!(is_missing, default == Default::Required, "`{section}` `{key}`: {left_out:?}");
                match default.value() {
                    Some(value) => assert_eq!(left_out.unwrap(), with(Some(value)).unwrap(), "`{section}` `{key}`"),
                    // What depends on others (a steward's key) cannot be left out alone.
                    None => assert!(left_out.map_or(true, |all| format!("{all:?}").contains(&format!("{key}: None")))),
                }
            }
        }
    }
}

#[test]
fn samples_show_every_key_and_have_the_defaults() {
    for role in [Role::Site, Role::Coordinator] {
        let mut short = role.sample();
        for (section, rows) in role.rows() {
            for (key, default) in rows {
                let mut shown = 0;
                for table in tables(&mut short, &section) {
                    shown += usize::from(table.contains_key(&key));
                    if default.value().is_some() && !default.is_empty() {
                        table.remove(&key);
                    }
                }
                assert_eq!(shown > 0, default != Default::Cores, "`{key}` of `{section}` in the sample of {role:?}");
            }
        }
        assert_eq!(role.load(&short).unwrap(), role.load(&role.sample()).unwrap(), "{role:?}");
    }
}

#[test]
fn samples_and_examples_load() {
    for (name, role) in
        [("site.toml", Role::Site), ("provider.toml", Role::Site), ("coordinator.toml", Role::Coordinator)]
    {
        role.load_file(&docs("samples").join(name)).unwrap();
    }
    let page = page();
    let mut lines = page.lines();
    let mut examples = 0;
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else { continue };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let role = match kind {
            "toml site" => Role::Site,
            "toml coordinator" => Role::Coordinator,
            "sh" => continue,
            _ => panic!("a block is marked as `{kind}`"),
        };
        // The sections of an example are in the place of the sample's.
        let mut content = role.sample();
        content.extend(text.join("\n").parse::<Table>().unwrap());
        role.load(&content).unwrap_or_else(|error| panic!("{error}\n{}", text.join("\n")));
        examples += 1;
    }
    assert!(examples >= 5, "{examples} examples");
}

#[test]
fn samples_are_of_one_federation() {
    let [steward, provider] = ["site.toml", "provider.toml"].map(|name| {
        let Ok(Loaded::Site(config)) = Role::Site.load_file(&docs("samples").join(name)) else { panic!("{name}") };
        config
    });
    let coordinator = Role::Coordinator.load_file(&docs("samples/coordinator.toml"));
    let Ok(Loaded::Coordinator(coordinator)) = coordinator else { panic!("{coordinator:?}") };
    let port = coordinator.coordinator.sites_listen.port();
    for site in [&steward, &provider] {
        let known = coordinator.sites.iter().find(|known| known.name == site.site.name.as_str()).unwrap();
        assert!(site.site.roles.iter().all(|role| known.roles.contains(role)));
        assert!(site.site.regions.iter().all(|region| known.regions.contains(region)));
        assert!(site.coordinator.uri.ends_with(&format!(":{port}")));
        for peer in &site.peers {
            let known = coordinator.sites.iter().find(|known| known.name == peer.name.as_str()).unwrap();
            assert_eq!(peer.public_key, known.public_key.as_ref().map(|key| key.0.to_text()), "{}", peer.name);
            assert_eq!(peer.roles.iter().collect::<BTreeSet<_>>(), known.roles.iter().collect(), "{}", peer.name);
        }
    }
    assert_eq!(steward.coordinator.public_key, provider.coordinator.public_key);
    assert_eq!(steward.organisations.len(), coordinator.organisations.len());
}
