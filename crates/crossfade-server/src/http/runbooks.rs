//! The runbooks, in the binary: a problem document names its own.

/// By code.
pub(super) const PAGES: &[(&str, &str)] = &[
    ("backfill-not-started", include_str!("../../../../docs/runbooks/backfill-not-started.md")),
    ("backfill-unfinished", include_str!("../../../../docs/runbooks/backfill-unfinished.md")),
    ("bypassing-writer", include_str!("../../../../docs/runbooks/bypassing-writer.md")),
    ("cannot-check", include_str!("../../../../docs/runbooks/cannot-check.md")),
    ("checks-not-full", include_str!("../../../../docs/runbooks/checks-not-full.md")),
    ("confirmation-needed", include_str!("../../../../docs/runbooks/confirmation-needed.md")),
    ("diverged", include_str!("../../../../docs/runbooks/diverged.md")),
    ("exists", include_str!("../../../../docs/runbooks/exists.md")),
    ("forbidden", include_str!("../../../../docs/runbooks/forbidden.md")),
    ("forced-rollback", include_str!("../../../../docs/runbooks/forced-rollback.md")),
    ("gate-refused", include_str!("../../../../docs/runbooks/gate-refused.md")),
    ("invalid", include_str!("../../../../docs/runbooks/invalid.md")),
    ("malformed", include_str!("../../../../docs/runbooks/malformed.md")),
    ("marks", include_str!("../../../../docs/runbooks/marks.md")),
    ("method-not-allowed", include_str!("../../../../docs/runbooks/method-not-allowed.md")),
    ("no-step", include_str!("../../../../docs/runbooks/no-step.md")),
    ("not-found", include_str!("../../../../docs/runbooks/not-found.md")),
    ("not-json", include_str!("../../../../docs/runbooks/not-json.md")),
    ("not-ready", include_str!("../../../../docs/runbooks/not-ready.md")),
    ("not-verified", include_str!("../../../../docs/runbooks/not-verified.md")),
    ("operations-differ", include_str!("../../../../docs/runbooks/operations-differ.md")),
    ("paused", include_str!("../../../../docs/runbooks/paused.md")),
    ("plane-behind", include_str!("../../../../docs/runbooks/plane-behind.md")),
    ("repair-running", include_str!("../../../../docs/runbooks/repair-running.md")),
    ("restored-plane", include_str!("../../../../docs/runbooks/restored-plane.md")),
    ("retired", include_str!("../../../../docs/runbooks/retired.md")),
    ("revision-changed", include_str!("../../../../docs/runbooks/revision-changed.md")),
    ("run-under-way", include_str!("../../../../docs/runbooks/run-under-way.md")),
    ("side-fails", include_str!("../../../../docs/runbooks/side-fails.md")),
    ("silent-instances", include_str!("../../../../docs/runbooks/silent-instances.md")),
    ("step-under-way", include_str!("../../../../docs/runbooks/step-under-way.md")),
    ("storage", include_str!("../../../../docs/runbooks/storage.md")),
    ("suspect", include_str!("../../../../docs/runbooks/suspect.md")),
    ("swapped-sides", include_str!("../../../../docs/runbooks/swapped-sides.md")),
    ("table-suspect", include_str!("../../../../docs/runbooks/table-suspect.md")),
    ("target-slower", include_str!("../../../../docs/runbooks/target-slower.md")),
    ("too-large", include_str!("../../../../docs/runbooks/too-large.md")),
    ("too-many-requests", include_str!("../../../../docs/runbooks/too-many-requests.md")),
    ("unauthenticated", include_str!("../../../../docs/runbooks/unauthenticated.md")),
    ("unavailable", include_str!("../../../../docs/runbooks/unavailable.md")),
    ("unknown-instance", include_str!("../../../../docs/runbooks/unknown-instance.md")),
    ("unlawful-step", include_str!("../../../../docs/runbooks/unlawful-step.md")),
    ("verification-too-old", include_str!("../../../../docs/runbooks/verification-too-old.md")),
    ("verification-unknown", include_str!("../../../../docs/runbooks/verification-unknown.md")),
];

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crossfade_api::problem::Code;

    #[test]
    fn the_server_answers_every_runbook_there_is() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/runbooks");
        let written = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let codes = Code::ALL.iter().map(|code| code.name().to_owned());
        for name in written.map(|file| file.to_string_lossy().trim_end_matches(".md").to_owned()).chain(codes) {
            let page = PAGES.iter().find(|(code, _)| *code == name);
            assert!(page.is_some_and(|(_, text)| text.contains("## What to do")), "{name} is not served");
        }
    }
}
