use std::collections::HashMap;

use super::super::index::Index;
use super::super::model::Release;
use super::super::verdict::{Params, Verdict};
use super::resize;

pub(in super::super) fn check(index: &Index<'_>, params: &Params, verdict: &mut Verdict) {
    let mut freed: HashMap<(&str, u64), &Release<'_>> = HashMap::new();
    let (mut own, mut gone) = (0, 0);
    for release in &index.releases {
        match release.freed {
            Some(true) => {
                own += 1;
                frees(index, release, verdict);
                if let Some(first) = freed.insert((release.p, release.lease), release) {
                    let text = format!("lease {} was freed twice", release.lease);
                    verdict.violation([first.line, release.line], text);
                }
            }
            Some(false) => gone += 1,
            None => {}
        }
    }
    for release in resize::taken(index, params) {
        if !resize::shrunk(index, release) {
            let text = format!("lease {} was held, and somebody has freed it", release.lease);
            verdict.violation([release.line], text);
        }
    }
    verdict.count("freed", own);
    verdict.count("already_gone", gone);
}

fn frees(index: &Index<'_>, release: &Release<'_>, verdict: &mut Verdict) {
    if index.held(release.p, release.lease).is_none() {
        let holder = index.by_id.get(&release.lease).map(|at| index.leases[*at].p);
        let whose = holder.map_or_else(|| "nobody's".to_owned(), |p| format!("that of {p}"));
        let text = format!("{} has freed lease {}, {whose}", release.p, release.lease);
        verdict.violation([release.line], text);
    }
}
