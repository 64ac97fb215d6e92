//! `[control]` and its tokens.

use super::*;

const TOKENS: &str = "[control]\ntoken = \"hunter1\"\n[[control.tokens]]\nname = \"ci\"\ntoken = \"hunter2\"\n\
                      scopes = [\"purge\", \"read\", \"purge\"]\n";

#[test]
fn tokens_that_are_wrong_are_found_at_their_place() {
    for (text, expected) in [
        ("[[control.tokens]]\nname = \"ci\"\ntoken = \"\"\nscopes = [\"purge\"]", "4:9 the token `ci` is empty"),
        (
            "[[control.tokens]]\nname = \"ci\"\ntoken = \"t\"\nscopes = [\"write\"]",
            "5:11 unknown value `write`, expected one of `read`, `purge`, `admin`",
        ),
        ("[[control.tokens]]\nname = \"ci\"\ntoken = \"t\"\nscopes = []", "5:10 expected at least one value"),
        ("[[control.tokens]]\ntoken = \"t\"\nscopes = [\"read\"]", "2:1 missing key `name`"),
        (
            "[[control.tokens]]\nname = \"control\"\ntoken = \"t\"\nscopes = [\"read\"]",
            "3:8 `control` is what the holder of `token` is called",
        ),
        (
            "[control]\ntoken = \"t\"\ntokens = [{ name = \"ci\", token = \"t\", scopes = [\"read\"] }]",
            "4:34 the token `ci` has the same text as `control`",
        ),
    ] {
        assert_eq!(places(&format!("{APP}{text}")), [expected], "{text}");
    }
}

#[test]
fn tokens_have_names_and_scopes_and_are_shown_to_nobody() {
    let settings = valid_with_app(TOKENS);
    let control = settings.control.as_ref().unwrap();
    assert_eq!(control.tokens[0].scopes, [Scope::Purge, Scope::Read]);
    let shown = masked(&settings);
    assert_eq!(
        shown["control"]["tokens"],
        serde_json::json!([{ "name": "ci", "token": "***", "scopes": ["purge", "read"] }])
    );
    for text in [shown.to_string(), format!("{settings:?}"), errors(&format!("{APP}{TOKENS}scops = 1\n"))] {
        assert!(!text.contains("hunter"), "{text}");
    }
    let wrong = errors(&format!("{APP}{}", TOKENS.replace("hunter2", "hunter 2")));
    assert!(wrong.contains("token = \"********\"") && !wrong.contains("hunter"), "{wrong}");
}

#[test]
fn token_that_changes_is_told_without_its_text() {
    let (old, new) = (valid_with_app(TOKENS), valid_with_app(&TOKENS.replace("hunter2", "hunter3")));
    assert_eq!(changes(&old, &new), ["control: `tokens` changed"]);
}
