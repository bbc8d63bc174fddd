//! What all reports write alike: lines, lists of words, and whom a verdict is about.

use std::fmt::Write;

use crate::policy::Policy;

/// A line of a report, so many steps to the right.
pub(super) fn line(text: &mut String, depth: usize, shown: &str) {
    // Writing to a string does not fail.
    let written = writeln!(text, "{:indent$}{shown}", "", indent = depth * 2);
    debug_assert!(written.is_ok(), "a string takes any text");
}

/// Whom a verdict is about.
pub(super) fn whom(policy: &Policy<'_>) -> String {
    let purpose = match policy.purpose {
        "" => "without a purpose".to_owned(),
        purpose => format!("for the purpose {purpose}"),
    };
    format!("{} of {}, {purpose}", policy.requester.user, policy.requester.organisation)
}

/// Words with commas between them and `and` before the last.
pub(super) fn listed<T: AsRef<str>>(words: &[T]) -> String {
    match words {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}
