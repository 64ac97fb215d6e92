//! Classes of devices.

use super::*;

#[test]
fn devices_built_in_tell_common_user_agents_apart() {
    let devices = valid(APP).devices;
    for (class, user_agent) in [
        ("bot", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"),
        ("bot", "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) Mobile Safari/537.36 (compatible; Googlebot/2.1)"),
        ("bot", "facebookexternalhit/1.1"),
        ("bot", "curl/8.5.0"),
        ("tablet", "Mozilla/5.0 (iPad; CPU OS 12_2 like Mac OS X) AppleWebKit/605 Version/12.1 Mobile/15E148"),
        ("tablet", "Mozilla/5.0 (Linux; Android 13; SM-X906C) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36"),
        ("tablet", "Mozilla/5.0 (Android 14; Tablet; rv:120.0) Gecko/120.0 Firefox/120.0"),
        ("mobile", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Mobile/15E148 Safari/604.1"),
        ("mobile", "Mozilla/5.0 (Linux; Android 10; K) Chrome/120.0.0.0 Mobile Safari/537.36"),
        ("mobile", "Mozilla/5.0 (Linux; Android 10; CUBOT X30) Chrome/120.0.0.0 Mobile Safari/537.36"),
        ("mobile", "Mozilla/5.0 (Android 14; Mobile; rv:120.0) Gecko/120.0 Firefox/120.0"),
        ("desktop", "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0"),
        ("desktop", "Mozilla/5.0 (Windows NT 6.1; Trident/7.0; Tablet PC 2.0; rv:11.0) like Gecko"),
        ("desktop", ""),
    ] {
        assert_eq!(devices.class(user_agent), class, "{user_agent}");
    }
}

#[test]
fn devices_of_an_operator_replace_the_built_in_ones() {
    let devices = valid(&format!(
        "{APP}[devices]\ndefault = \"other\"\nclasses = [\n\
         {{ name = \"tv\", user_agent = \"TV\" }}, {{ name = \"old\", user_agent = [\"MSIE\", \"TV 1\"] }}]\n"
    ))
    .devices;
    for (class, user_agent) in [("tv", "TV 1"), ("old", "MSIE 6"), ("other", "curl/8")] {
        assert_eq!(devices.class(user_agent), class);
    }
}
