//! Finding the files of a table, and the partition values their folders spell.
//!
//! A file the steward meant to be part of a table is never passed over in silence: folders that are no partition, and
//! files partitioned unlike the others, are errors.

use std::fs;
use std::path::{Path, PathBuf};

use super::column_type::ColumnType;
use super::error::{FolderProblem, SourceError};
use super::inference::Inference;

/// What hive writes for NULL in a folder name; a text that is no value of the column's type.
const HIVE_DEFAULT_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// The files of one table in the order of their paths.
#[derive(Debug)]
pub(crate) struct TableFiles {
    /// The keys of hive partitions, outermost first; empty if there are none.
    pub(crate) partition_keys: Vec<String>,
    /// At least one file.
    pub(crate) files: Vec<DataFile>,
}

/// One file and where it lies among the partitions.
#[derive(Debug, PartialEq)]
pub(crate) struct DataFile {
    pub(crate) path: PathBuf,
    /// One value for each of [`TableFiles::partition_keys`].
    pub(crate) partition_values: Vec<String>,
}

impl TableFiles {
    /// The file `root`, or all files below the folder `root` that end in `.extension`.
    pub(crate) fn find(root: &Path, extension: &'static str) -> Result<Self, SourceError> {
        let metadata = fs::metadata(root).map_err(|source| read_error(root, source))?;
        if metadata.is_file() {
            let file = DataFile { path: root.to_owned(), partition_values: Vec::new() };
            return Ok(TableFiles { partition_keys: Vec::new(), files: vec![file] });
        }
        let mut found = Vec::new();
        collect(root, extension, &mut Vec::new(), &mut found)?;
        found.sort_by(|(left, _), (right, _)| left.cmp(right));
        let partition_keys: Vec<String> = match found.first() {
            Some((_, partitions)) => partitions.iter().map(|(key, _)| key.clone()).collect(),
            None => return Err(folder_error(root, FolderProblem::NoFiles { extension })),
        };
        let mut files = Vec::with_capacity(found.len());
        for (path, partitions) in found {
            if !partitions.iter().map(|(key, _)| key).eq(&partition_keys) {
                let file = path.strip_prefix(root).unwrap_or(&path).display().to_string();
                let expected = partition_keys.join("/");
                return Err(folder_error(root, FolderProblem::UnevenPartitions { file, expected }));
            }
            let partition_values = partitions.into_iter().map(|(_, value)| value).collect();
            files.push(DataFile { path, partition_values });
        }
        Ok(TableFiles { partition_keys, files })
    }

    /// Whether every value of the partition column `key` passes `test`.
    pub(crate) fn all_values(&self, key: &str, test: impl Fn(&str) -> bool) -> bool {
        let position = self.partition_keys.iter().position(|other| other == key);
        position.is_none_or(|index| {
            self.files.iter().all(|file| file.partition_values.get(index).is_some_and(|value| test(value)))
        })
    }

    /// The types of the partition columns: `bigint` where every value is a plain whole number, else `text`.
    pub(crate) fn partition_types(&self) -> Vec<ColumnType> {
        let mut types = Vec::with_capacity(self.partition_keys.len());
        for index in 0..self.partition_keys.len() {
            let mut inference = Inference::default();
            for file in &self.files {
                inference.observe(file.partition_values.get(index).map(String::as_str).unwrap_or_default());
            }
            types.push(match inference.column_type() {
                ColumnType::BigInt => ColumnType::BigInt,
                _ => ColumnType::Text,
            });
        }
        types
    }
}

/// Gathers files below `folder`; `partitions` holds the `key=value` folders on the way to it.
fn collect(
    folder: &Path,
    extension: &str,
    partitions: &mut Vec<(String, String)>,
    found: &mut Vec<(PathBuf, Vec<(String, String)>)>,
) -> Result<(), SourceError> {
    for entry in fs::read_dir(folder).map_err(|source| read_error(folder, source))? {
        let path = entry.map_err(|source| read_error(folder, source))?.path();
        let metadata = fs::metadata(&path).map_err(|source| read_error(&path, source))?;
        if !metadata.is_dir() {
            if path.extension().is_some_and(|ending| ending == extension) {
                found.push((path, partitions.clone()));
            }
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((key, value)) = name.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(folder_error(folder, FolderProblem::NotAPartition { name }));
        };
        if value.is_empty() || name.contains('%') || value == HIVE_DEFAULT_PARTITION {
            return Err(folder_error(folder, FolderProblem::PartitionValue { name }));
        }
        partitions.push((key.to_owned(), value.to_owned()));
        collect(&path, extension, partitions, found)?;
        partitions.pop();
    }
    Ok(())
}

pub(crate) fn read_error(path: &Path, source: std::io::Error) -> SourceError {
    SourceError::Read { path: path.to_owned(), source }
}

fn folder_error(path: &Path, problem: FolderProblem) -> SourceError {
    SourceError::Folder { path: path.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
    }

    fn problem(root: &Path) -> FolderProblem {
        match TableFiles::find(root, "csv") {
            Err(SourceError::Folder { problem, .. }) => problem,
            other => panic!("expected a folder problem, got {other:?}"),
        }
    }

    #[test]
    fn a_folder_is_its_files_of_one_ending_in_order() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), &["b.csv", "a.csv", "_SUCCESS", "readme.txt"]);
        let found = TableFiles::find(root.path(), "csv").unwrap();
        let names: Vec<_> = found.files.iter().map(|file| file.path.file_name().unwrap()).collect();
        assert_eq!(names, ["a.csv", "b.csv"]);
        assert!(found.partition_keys.is_empty());
    }

    #[test]
    fn partition_folders_spell_columns() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), &["year=2024/part=01/a.csv", "year=2023/part=02/a.csv"]);
        let found = TableFiles::find(root.path(), "csv").unwrap();
        assert_eq!(found.partition_keys, ["year", "part"]);
        assert_eq!(found.files[0].partition_values, ["2023", "02"]);
        assert_eq!(found.partition_types(), [ColumnType::BigInt, ColumnType::Text]);
    }

    #[test]
    fn nothing_is_passed_over_in_silence() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(problem(root.path()), FolderProblem::NoFiles { extension: "csv" });
        touch(root.path(), &["year=2024/a.csv", "b.csv"]);
        assert!(matches!(problem(root.path()), FolderProblem::UnevenPartitions { .. }));
        touch(root.path(), &["old/a.csv"]);
        assert_eq!(problem(root.path()), FolderProblem::NotAPartition { name: "old".to_owned() });
        assert!(matches!(TableFiles::find(&root.path().join("none"), "csv"), Err(SourceError::Read { .. })));
    }

    #[test]
    fn refuses_partition_values_that_readers_disagree_on() {
        for name in ["year=", "year=20%2024", "year=__HIVE_DEFAULT_PARTITION__"] {
            let root = tempfile::tempdir().unwrap();
            touch(root.path(), &[&format!("{name}/a.csv")]);
            assert_eq!(problem(root.path()), FolderProblem::PartitionValue { name: name.to_owned() });
        }
    }
}
