//! The first admin's token: told once in the life of a control plane's file, and written down nowhere.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// One life of `crossfade serve`: all that it said until SIGTERM.
fn one_life(folder: &Path, words: &[&str]) -> String {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_crossfade"));
    serve.current_dir(folder).args(words).args(["serve", "--listen", "127.0.0.1:0"]).env("RUST_LOG", "trace");
    serve.env_remove("CROSSFADE_TOKENS");
    let mut serve = serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(serve.stdout.take().unwrap());
    let mut said = String::new();
    // It says where it listens when everything else of its beginning has been said.
    while !said.contains("listening") {
        assert!(output.read_line(&mut said).unwrap() > 0, "it ended: {said}");
    }
    let ended = Command::new("kill").arg(serve.id().to_string()).status().unwrap();
    assert!(ended.success());
    output.read_to_string(&mut said).unwrap();
    serve.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    // It may not yet have listened to signals, and ended by this one.
    let _ = serve.wait().unwrap();
    said
}

/// Every `cf_ID_SECRET` in a text.
fn tokens(text: &str) -> Vec<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !word(c)).filter(|word| word.starts_with("cf_") && word.len() > 60);
    words.map(str::to_owned).collect()
}

#[test]
fn the_first_admins_token_is_printed_exactly_once_and_kept_nowhere() {
    for words in [&[][..], &["--json"]] {
        let folder = tempfile::tempdir().unwrap();
        let lives: Vec<Vec<String>> = (0..3).map(|_| tokens(&one_life(folder.path(), words))).collect();
        let [first, rest @ ..] = lives.as_slice() else { panic!("three lives") };
        assert_eq!((first.len(), rest), (1, &[Vec::new(), Vec::new()][..]), "with {words:?}");
        let secret = first[0].rsplit('_').next().unwrap().as_bytes();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "it is in {}", path.display());
        }
    }
}
