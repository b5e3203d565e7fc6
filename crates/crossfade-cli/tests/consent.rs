//! What a backfill may delete: the binary, a real PostgreSQL on both sides, and SQL that counts what is left.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic")]

use serde_json::Value as Json;
use std::process::Command;

fn server() -> String {
    std::env::var("CROSSFADE_TEST_POSTGRES").expect("run ./test, or `eval \"$(./tests/servers start)\"`")
}

/// Two schemas with a table `events`, 300 rows in schema `a`, and a `crossfade.toml` from `a` to `b`.
struct Home {
    folder: tempfile::TempDir,
    name: String,
}

impl Home {
    fn new(name: &str) -> Home {
        let home =
            Home { folder: tempfile::tempdir().unwrap(), name: format!("consent_{name}_{}", std::process::id()) };
        for side in ["a", "b"] {
            home.sql(&format!(
                "DROP SCHEMA IF EXISTS {0}_{side} CASCADE; CREATE SCHEMA {0}_{side};
                 CREATE TABLE {0}_{side}.events (id int8 PRIMARY KEY, user_id text NOT NULL, body text)",
                home.name
            ));
        }
        home.sql(&format!(
            "INSERT INTO {}_a.events SELECT i, 'u' || i % 50, 'body ' || i FROM generate_series(1, 300) i",
            home.name
        ));
        home.between("a", "b", "");
        home
    }

    fn url(&self, side: &str) -> String {
        format!("{}?options=-csearch_path%3D{}_{side}", server(), self.name)
    }

    /// Writes `crossfade.toml`; `more` goes into its table.
    fn between(&self, source: &str, target: &str, more: &str) {
        self.config(&self.url(source), &self.url(target), more);
    }

    fn config(&self, source: &str, target: &str, more: &str) {
        let text = format!(
            "[migration.events]\nsource = \"{source}\"\ntarget = \"{target}\"\n[migration.events.table.events]\ncohort = [\"user_id\"]\n{more}"
        );
        std::fs::write(self.folder.path().join("crossfade.toml"), text).unwrap();
    }

    /// Rows of its own in the target, 50 of them.
    fn own_rows(&self) {
        self.sql(&format!(
            "INSERT INTO {}_b.events SELECT i, 'own', 'own ' || i FROM generate_series(1001, 1050) i",
            self.name
        ));
    }

    /// Runs SQL and gives what it prints.
    fn sql(&self, text: &str) -> String {
        let out = Command::new("psql").args(["-qXAtv", "ON_ERROR_STOP=1", &server(), "-c", text]).output().unwrap();
        assert!(out.status.success(), "{text}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// All rows of a side, by a digest of them, and how many they are.
    fn rows(&self, side: &str) -> String {
        self.sql(&format!(
            "SELECT count(*) || ' ' || coalesce(md5(string_agg(e::text, ';' ORDER BY id)), '') FROM {}_{side}.events e",
            self.name
        ))
    }

    fn count(&self, side: &str, condition: &str) -> i64 {
        self.sql(&format!("SELECT count(*) FROM {}_{side}.events WHERE {condition}", self.name)).parse().unwrap()
    }

    /// The exit code, all lines of `--json`, and the last of them.
    fn run(&self, words: &[&str]) -> (i32, String, Json) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
        command.current_dir(self.folder.path()).args(words).arg("--json").env_remove("CROSSFADE_SERVER");
        let out = command.output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let last = text.lines().last().map(|line| serde_json::from_str(line).unwrap()).unwrap_or_default();
        (out.status.code().unwrap(), text + &String::from_utf8_lossy(&out.stderr), last)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.sql(&format!("DROP SCHEMA {0}_a CASCADE; DROP SCHEMA {0}_b CASCADE", self.name));
    }
}

#[test]
fn a_first_backfill_into_rows_of_its_own_asks_before_it_writes() {
    let home = Home::new("asks");
    home.own_rows();
    let before = home.rows("b");
    let (code, text, result) = home.run(&["backfill", "events"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("50") && text.contains("--delete-extra") && text.contains("extra = "), "{text}");
    assert_eq!((&result["rows_extra"], &result["rows_written"]), (&Json::from(50), &Json::from(0)), "{result}");
    assert_eq!(home.rows("b"), before, "nothing was written");

    let (code, text, _) = home.run(&["backfill", "events"]);
    assert_eq!(code, 3, "asking twice is no consent: {text}");
    assert_eq!(home.rows("b"), before, "nothing was written");

    let (code, text, result) = home.run(&["backfill", "events", "--delete-extra"]);
    assert_eq!((code, &result["rows_deleted"]), (0, &Json::from(50)), "{text}");
    assert_eq!(home.rows("b"), home.rows("a"));
}

#[test]
fn a_dry_run_counts_and_changes_nothing() {
    let home = Home::new("dry");
    home.own_rows();
    home.sql(&format!("INSERT INTO {}_b.events VALUES (1, 'u1', 'stale'), (2, 'u2', 'body 2')", home.name));
    let before = home.rows("b");
    let (code, text, result) = home.run(&["backfill", "events", "--dry-run"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.lines().any(|line| line.contains("\"event\":\"dry_run\"") && line.contains("\"table\":\"events\"")),
        "{text}"
    );
    assert_eq!(result["dry_run"], Json::from(true), "{result}");
    assert_eq!(
        (&result["rows_to_insert"], &result["rows_to_change"], &result["rows_to_delete"], &result["consent"]),
        (&Json::from(298), &Json::from(1), &Json::from(50), &Json::from("needed")),
        "{result}"
    );
    assert_eq!(home.rows("b"), before, "nothing was written");
    assert!(!home.folder.path().join(".crossfade").exists(), "and no progress was recorded");
    let (_, text, result) = home.run(&["backfill", "events", "--dry-run", "--delete-extra"]);
    assert_eq!(result["consent"], Json::from("given"), "{text}");
}

#[test]
fn swapped_urls_delete_nothing() {
    let home = Home::new("swap");
    assert_eq!(home.run(&["backfill", "events"]).0, 0);
    // The application goes on; the target is still empty of these.
    home.sql(&format!("INSERT INTO {}_a.events SELECT i, 'new', 'new' FROM generate_series(5001, 5100) i", home.name));
    let before = home.rows("a");
    home.between("b", "a", "");
    for words in [
        &["backfill", "events"][..],
        &["backfill", "events", "--restart", "--delete-extra"],
        &["repair", "events"],
        &["backfill", "events", "--dry-run"],
    ] {
        let (code, text, _) = home.run(words);
        assert_eq!(code, 3, "{words:?}: {text}");
        assert!(text.contains("swapped"), "{words:?}: {text}");
        assert_eq!(home.rows("a"), before, "{words:?}: {text}");
    }
}

#[test]
fn one_table_as_both_sides_is_refused_whatever_its_urls() {
    let home = Home::new("same");
    let other = home.url("a").replace("127.0.0.1", "localhost");
    assert_ne!(other, home.url("a"));
    home.config(&home.url("a"), &other, "");
    let before = home.rows("a");
    for words in [&["backfill", "events"][..], &["verify", "events"], &["repair", "events"], &["check"]] {
        let (code, text, _) = home.run(words);
        assert_eq!(code, 2, "{words:?}: {text}");
        assert!(text.contains("the same table"), "{words:?}: {text}");
    }
    assert_eq!(home.rows("a"), before);
}

#[test]
fn rows_that_the_file_keeps_stay_and_are_reported() {
    let home = Home::new("keep");
    home.own_rows();
    home.between("a", "b", "extra = \"keep\"\n");
    let (code, text, result) = home.run(&["backfill", "events"]);
    assert_eq!((code, &result["rows_deleted"], &result["rows_kept"]), (0, &Json::from(0), &Json::from(50)), "{text}");
    assert_eq!((home.count("b", "user_id = 'own'"), home.count("b", "user_id <> 'own'")), (50, 300));
    let (code, text, result) = home.run(&["verify", "events"]);
    assert_eq!((code, &result["extra_in_target"]), (4, &Json::from(50)), "{text}");
    let (code, text, _) = home.run(&["repair", "events"]);
    assert_eq!((code, home.count("b", "user_id = 'own'")), (4, 50), "{text}");
    // The flag of one run does not stand over what the file says of this table.
    let (code, text, _) = home.run(&["backfill", "events", "--restart", "--delete-extra"]);
    assert_eq!((code, home.count("b", "user_id = 'own'")), (0, 50), "{text}");
}

#[test]
fn rows_that_an_earlier_run_put_are_deleted_without_a_question() {
    let home = Home::new("ours");
    assert_eq!(home.run(&["backfill", "events"]).0, 0);
    // A live delete whose mirror was lost.
    home.sql(&format!("DELETE FROM {}_a.events WHERE id <= 7", home.name));
    let (code, text, result) = home.run(&["backfill", "events"]);
    assert_eq!((code, &result["rows_deleted"]), (0, &Json::from(7)), "{text}");
    home.sql(&format!("DELETE FROM {}_a.events WHERE id <= 9", home.name));
    let (code, text, result) = home.run(&["backfill", "events", "--restart"]);
    assert_eq!((code, &result["rows_deleted"]), (0, &Json::from(2)), "{text}");
    // Without what the earlier runs recorded, nothing tells whose rows these are.
    home.sql(&format!("DELETE FROM {}_a.events WHERE id <= 11", home.name));
    std::fs::remove_dir_all(home.folder.path().join(".crossfade")).unwrap();
    let (code, text, result) = home.run(&["backfill", "events"]);
    assert_eq!((code, &result["rows_extra"], home.count("b", "true")), (3, &Json::from(2), 291), "{text}");
}

#[test]
fn consent_in_the_file_is_asked_for_once() {
    let home = Home::new("file");
    home.own_rows();
    home.between("a", "b", "extra = \"delete\"\n");
    let (code, text, result) = home.run(&["backfill", "events"]);
    assert_eq!((code, &result["rows_deleted"]), (0, &Json::from(50)), "{text}");
    assert_eq!(home.rows("b"), home.rows("a"));
}

// Whether a verification and a repair say what is so.

#[test]
fn a_key_that_two_rows_of_a_side_have_is_never_verified() {
    let home = Home::new("twice");
    assert_eq!(home.run(&["backfill", "events"]).0, 0);
    home.sql(&format!(
        "CREATE TABLE {0}_a.child () INHERITS ({0}_a.events); INSERT INTO {0}_a.child VALUES (7, 'u7', 'body 7')",
        home.name
    ));
    assert_eq!((home.count("a", "true"), home.count("b", "true")), (301, 300));
    for words in [&["verify", "events"][..], &["verify", "events", "--no-push-down"]] {
        let (code, text, result) = home.run(words);
        assert_eq!((code, &result["verdict"]), (4, &Json::from("diverged")), "{words:?}: {text}");
    }
    let (code, text, _) = home.run(&["verify", "events", "--keys", "keys"]);
    let keys = std::fs::read_to_string(home.folder.path().join("keys")).unwrap();
    assert!(code == 4 && keys.contains("[7]") && keys.contains("several rows of the source"), "{text}: {keys}");
    home.sql(&format!("DROP TABLE {}_a.child", home.name));
    let (code, text, result) = home.run(&["verify", "events"]);
    assert_eq!(
        (code, &result["rows_source"], &result["rows_target"]),
        (0, &Json::from(300), &Json::from(300)),
        "{text}"
    );
}

#[test]
fn rows_that_a_policy_hides_from_the_login_are_an_error() {
    let home = Home::new("hidden");
    assert_eq!(home.run(&["backfill", "events"]).0, 0);
    let role = format!("{}_reader", home.name);
    home.sql(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'reader'; GRANT USAGE ON SCHEMA {0}_a TO {role}; GRANT ALL ON {0}_a.events TO {role};
         ALTER TABLE {0}_a.events ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON {0}_a.events TO {role} USING (id <= 10)",
        home.name
    ));
    let url = home.url("a");
    let at = url.find('@').unwrap();
    home.config(&format!("postgres://{role}:reader{}", &url[at..]), &home.url("b"), "");
    let before = home.rows("b");
    let outcomes = [&["verify", "events"][..], &["backfill", "events"], &["check"]].map(|words| home.run(words));
    home.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    for (code, text, _) in outcomes {
        assert!(code == 2 && text.contains("row-level security"), "{code}: {text}");
    }
    assert_eq!(home.rows("b"), before);
}

#[test]
fn a_trigger_that_changes_what_a_repair_puts_is_named_with_exit_code_4() {
    let home = Home::new("trigger");
    assert_eq!(home.run(&["backfill", "events"]).0, 0);
    home.sql(&format!(
        "UPDATE {0}_b.events SET body = 'wrong' WHERE id IN (7, 8);
         CREATE FUNCTION {0}_b.shout() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.id = 7 THEN NEW.body := upper(NEW.body); END IF; RETURN NEW; END$$;
         CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON {0}_b.events FOR EACH ROW EXECUTE FUNCTION {0}_b.shout()",
        home.name
    ));
    let (code, text, result) = home.run(&["repair", "events"]);
    assert_eq!((code, &result["repaired"], &result["failed"]), (4, &Json::from(1), &Json::from(1)), "{text}");
    assert!(text.contains("\"event\":\"row_failed\"") && text.contains("trigger"), "{text}");
    assert_eq!((home.count("b", "body = 'body 8'"), home.count("b", "body = 'BODY 7'")), (1, 1));
}

#[test]
fn unique_values_that_rows_have_exchanged_are_repaired() {
    let home = Home::new("swaps");
    assert_eq!(home.run(&["backfill", "events"]).0, 0);
    // Two rows, and three in a circle.
    home.sql(&format!(
        "UPDATE {0}_b.events SET body = 'body ' || CASE id WHEN 1 THEN 2 WHEN 2 THEN 1 WHEN 3 THEN 4 WHEN 4 THEN 5 ELSE 3 END WHERE id <= 5;
         ALTER TABLE {0}_b.events ADD UNIQUE (body)",
        home.name
    ));
    let (code, text, result) = home.run(&["repair", "events"]);
    assert_eq!((code, &result["repaired"], &result["failed"]), (0, &Json::from(5), &Json::from(0)), "{text}");
    assert_eq!(home.rows("b"), home.rows("a"));
}

#[test]
fn a_row_that_was_deleted_in_vain_is_put_back_as_it_was() {
    let home = Home::new("vain");
    assert_eq!(home.run(&["backfill", "events"]).0, 0);
    home.sql(&format!(
        "ALTER TABLE {0}_b.events ADD UNIQUE (body); UPDATE {0}_a.events SET body = 'body 9' WHERE id IN (1, 2)",
        home.name
    ));
    let before = home.rows("b");
    let (code, text, result) = home.run(&["repair", "events"]);
    assert_eq!((code, &result["failed"]), (4, &Json::from(2)), "{text}");
    assert_eq!(home.rows("b"), before);
}

#[test]
fn no_row_is_deleted_for_a_moment_where_a_foreign_key_cascades() {
    let home = Home::new("cascade");
    assert_eq!(home.run(&["backfill", "events"]).0, 0);
    home.sql(&format!(
        "UPDATE {0}_b.events SET body = 'body ' || 3 - id WHERE id <= 2; ALTER TABLE {0}_b.events ADD UNIQUE (body);
         CREATE TABLE {0}_b.kids (event int8 REFERENCES {0}_b.events ON DELETE CASCADE); INSERT INTO {0}_b.kids VALUES (1), (2)",
        home.name
    ));
    let (code, text, _) = home.run(&["repair", "events"]);
    assert!(code == 4 && text.contains("foreign key"), "{code}: {text}");
    assert_eq!(home.sql(&format!("SELECT count(*) FROM {}_b.kids", home.name)), "2");
}

#[test]
fn without_a_control_plane_the_operator_names_the_authority() {
    let home = Home::new("named");
    assert_eq!(home.run(&["backfill", "events"]).0, 0);
    // After the cut-over: the target has the truth.
    home.sql(&format!(
        "UPDATE {0}_b.events SET body = 'truth' WHERE id = 7; DELETE FROM {0}_b.events WHERE id = 8; INSERT INTO {0}_b.events VALUES (999, 'u', 'truth')",
        home.name
    ));
    let truth = home.rows("b");
    // Nothing but the operator's word says that the cut-over was: a row of the source may be one that the target never got.
    let (code, text, result) = home.run(&["repair", "events", "--authority", "target"]);
    assert_eq!((code, &result["repaired"], &result["kept_in_source"]), (4, &Json::from(2), &Json::from(1)), "{text}");
    assert!(text.contains("--delete-extra") && text.contains("of the source"), "{text}");
    assert_eq!(home.count("a", "id = 8"), 1);
    // What the file says of extra rows is about the target.
    home.between("a", "b", "extra = \"delete\"\n");
    assert_eq!(home.run(&["repair", "events", "--authority", "target"]).0, 4);
    assert_eq!(home.count("a", "id = 8"), 1);
    let (code, text, result) = home.run(&["repair", "events", "--authority", "target", "--delete-extra"]);
    assert_eq!((code, &result["repaired"]), (0, &Json::from(1)), "{text}");
    assert_eq!((home.rows("a"), home.rows("b")), (truth.clone(), truth));
}

#[test]
fn a_repair_without_a_recorded_backfill_keeps_extra_rows_until_it_is_told() {
    let home = Home::new("unrecorded");
    home.sql(&format!("INSERT INTO {0}_b.events SELECT * FROM {0}_a.events WHERE id > 10", home.name));
    home.own_rows();
    let own = "user_id = 'own'";
    let (code, text, result) = home.run(&["repair", "events"]);
    assert_eq!((code, &result["repaired"], &result["kept"]), (4, &Json::from(10), &Json::from(50)), "{text}");
    assert!(text.contains("--delete-extra") && text.contains("extra = "), "{text}");
    assert_eq!((home.count("b", own), home.count("b", "true")), (50, 350));

    // Who names rows says which, and not that they may be deleted.
    assert_eq!(home.run(&["verify", "events", "--keys", "keys"]).0, 4);
    for words in [&["--keys", "keys"][..], &["--table", "events", "--row", "1001"]] {
        let (code, text, _) = home.run(&[&["repair", "events"], words].concat());
        assert_eq!((code, home.count("b", own)), (4, 50), "{words:?}: {text}");
    }
    // The flag of one run does not stand over what the file says of this table.
    home.between("a", "b", "extra = \"keep\"\n");
    let (code, text, _) = home.run(&["repair", "events", "--delete-extra"]);
    assert_eq!((code, home.count("b", own)), (4, 50), "{text}");
    home.between("a", "b", "");
    let (code, text, _) = home.run(&["repair", "events", "--table", "events", "--row", "1001", "--delete-extra"]);
    assert_eq!((code, home.count("b", own)), (0, 49), "{text}");
    let (code, text, result) = home.run(&["repair", "events", "--delete-extra"]);
    assert_eq!((code, &result["repaired"]), (0, &Json::from(49)), "{text}");
    assert_eq!(home.rows("b"), home.rows("a"));

    home.own_rows();
    home.between("a", "b", "extra = \"delete\"\n");
    let (code, text, _) = home.run(&["repair", "events"]);
    assert_eq!((code, home.count("b", own)), (0, 0), "{text}");
}

#[test]
fn a_repair_asks_again_where_the_recorded_backfill_kept_rows_or_was_of_other_tables() {
    let home = Home::new("otherwise");
    home.own_rows();
    home.between("a", "b", "extra = \"keep\"\n");
    assert_eq!(home.run(&["backfill", "events"]).0, 0);
    home.between("a", "b", "");
    let (code, text, result) = home.run(&["repair", "events"]);
    assert_eq!((code, &result["kept"], home.count("b", "user_id = 'own'")), (4, &Json::from(50), 50), "{text}");

    let home = Home::new("elsewhere");
    assert_eq!(home.run(&["backfill", "events"]).0, 0);
    // Another table, with rows of its own.
    home.own_rows();
    home.sql(&format!("ALTER TABLE {0}_b.events RENAME TO others", home.name));
    home.between("a", "b", "target = \"others\"\n");
    let (code, text, result) = home.run(&["repair", "events"]);
    assert_eq!((code, &result["kept"]), (4, &Json::from(50)), "{text}");
}
