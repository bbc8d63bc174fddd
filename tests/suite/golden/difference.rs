//! Two texts side by side, line by line, for people.

/// Lines shown around a difference.
const AROUND: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// The difference: `-` is what was expected, `+` what came out; equal stretches are cut short.
pub(super) fn difference(expected: &str, found: &str) -> String {
    let lines = aligned(&expected.lines().collect::<Vec<_>>(), &found.lines().collect::<Vec<_>>());
    let differs = |at: usize| matches!(lines.get(at), Some(Line::Gone(_) | Line::New(_)));
    let mut text = String::new();
    let mut cut = false;
    for (at, line) in lines.iter().enumerate() {
        match line {
            Line::Gone(line) => text.push_str(&format!("  - {line}\n")),
            Line::New(line) => text.push_str(&format!("  + {line}\n")),
            Line::Same(line) if (at.saturating_sub(AROUND)..=at + AROUND).any(differs) => {
                text.push_str(&format!("    {line}\n"));
            }
            Line::Same(_) if cut => continue,
            Line::Same(_) => text.push_str("    …\n"),
        }
        cut = text.ends_with("    …\n");
    }
    if text.lines().all(|line| line.trim() == "…") && expected != found {
        text.push_str("  only the end of the last line differs\n");
    }
    text
}

/// The longest common lines, with what is gone and new between them.
#[expect(clippy::indexing_slicing, reason = "the loops keep every index within the lengths")]
fn aligned<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] =
                if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(Line::Gone(old[i]));
            i += 1;
        } else {
            lines.push(Line::New(new[j]));
            j += 1;
        }
    }
    lines
}

#[test]
fn only_what_differs_is_shown_with_its_surroundings() {
    let shown = difference("a\nb\nc\nd\ne\nf\n", "a\nb\nc\nd\nE\nf\nnew\n");
    assert_eq!(shown, "    …\n    c\n    d\n  - e\n  + E\n    f\n  + new\n");
    assert!(difference("a\n", "a").contains("end of the last line"));
    assert_eq!(difference("a\n", "a\n"), "    …\n");
}
