//! Finding the control API by a file with errors.

use super::*;

fn found(text: &str, address: Option<&str>, given: bool) -> Result<Reach, Diagnostics> {
    reach(&Source::Text { name: "proxy.toml".to_owned(), text: text.to_owned() }, &env, address, given)
}

const CONTROL: &str = "[control]\naddress = \"127.0.0.1:9999\"\ntoken = \"t\"\n";

#[test]
fn control_is_found_whatever_is_wrong_elsewhere() {
    for (wrong, errors) in [
        ("[upstreams.app]\nserver = [\"http://a\"]\n[cach]\n", 3),
        ("[upstreams.app]\nservers = [\"http://${UNSET}\"]\n", 1),
        ("[upstreams.app\nservers = []\n", 1),
        ("[[routes]]\nupstream = \"absent\n", 1),
    ] {
        for text in [format!("{CONTROL}{wrong}"), format!("{wrong}{CONTROL}")] {
            let Reach { control, errors_elsewhere } = found(&text, None, false).unwrap();
            let control = control.unwrap();
            assert_eq!(control.address.to_string(), "127.0.0.1:9999", "{text}");
            assert_eq!((control.token.as_deref(), errors_elsewhere >= errors), (Some("t"), true), "{text}");
        }
    }
    let tokens = "[[control.tokens]]\nname = \"ci\"\ntoken = \"\"\nscopes = []\n";
    assert_eq!(found(&format!("{CONTROL}{tokens}"), None, false).unwrap().control.unwrap().tokens, []);
    let sound = found(&format!("{APP}{CONTROL}"), None, false).unwrap();
    assert_eq!((sound.errors_elsewhere, sound.control.is_some()), (0, true));
}

#[test]
fn control_that_is_wrong_itself_is_an_error_unless_it_is_given() {
    for (text, address, given, told) in [
        ("[control]\naddress = \"nonsense\"\n", None, false, "proxy.toml:2:11"),
        ("[control]\naddress = \"nonsense\"\n", Some("127.0.0.1:1"), false, ""),
        ("[control]\naddress = \"127.0.0.1:9\n", None, false, "proxy.toml:2:"),
        ("control.address = \"127.0.0.1:9\n", None, false, "proxy.toml:1:"),
        ("[control]\ntoken = \"${UNSET}\"\n", None, false, "`UNSET` is not set"),
        ("[control]\ntoken = \"${UNSET}\"\n", None, true, ""),
        ("", Some("nonsense"), false, "--control: "),
    ] {
        match found(text, address, given) {
            Ok(_) => assert_eq!(told, "", "{text}"),
            Err(errors) => {
                let errors = errors.to_string();
                assert!(!told.is_empty() && errors.contains(told) && !errors.contains("upstream"), "{text}: {errors}");
            }
        }
    }
}
