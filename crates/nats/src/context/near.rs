/// Up to three of the names, the most similar first; those that have little in common are left out.
pub(crate) fn near(name: &str, names: &[String]) -> Vec<String> {
    let wanted = name.to_lowercase();
    let mut ranked: Vec<(usize, &String)> = names
        .iter()
        .filter_map(|other| {
            let candidate = other.to_lowercase();
            let distance = distance(&wanted, &candidate);
            let contained = candidate.contains(&wanted) || wanted.contains(&candidate);
            (contained || distance <= 1 + wanted.chars().count() / 3).then_some((distance, other))
        })
        .collect();
    ranked.sort();
    ranked.into_iter().take(3).map(|(_, other)| other.clone()).collect()
}

/// Levenshtein's, row by row.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }

    #[test]
    fn offers_what_was_probably_meant() {
        let names = ["prod", "prod-eu", "staging", "local"].map(str::to_owned);
        assert_eq!(near("prdo", &names), ["prod"]);
        assert_eq!(near("PROD", &names), ["prod", "prod-eu"]);
        assert_eq!(near("zzzzzz", &names), [] as [&str; 0]);
    }
}
