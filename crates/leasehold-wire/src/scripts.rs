//! The Lua scripts, as they are sent.

/// A script and how few keys and arguments it takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    /// Its name, for errors.
    pub name: &'static str,
    /// What is sent to the server.
    pub source: &'static str,
    /// How few keys it takes.
    pub least_keys: usize,
    /// How few arguments it takes.
    pub least_args: usize,
}

macro_rules! script {
    ($name:literal, $least_keys:literal, $least_args:literal, $($file:literal),+) => {
        Script {
            name: $name,
            source: concat!($(include_str!(concat!("lua/", $file))),+),
            least_keys: $least_keys,
            least_args: $least_args,
        }
    };
}

pub(crate) static CLAIM: Script =
    script!("claim", 1, 3, "claim.lua", "keys.lua", "places.lua", "claim_enter.lua", "queue.lua", "claim_body.lua");
pub(crate) static RELEASE: Script =
    script!("release", 1, 1, "release.lua", "keys.lua", "places.lua", "release_hand_off.lua", "queue.lua", "release_body.lua");
pub(crate) static RENEW: Script =
    script!("renew", 1, 2, "renew.lua", "keys.lua", "renew_tokens.lua", "places.lua", "queue.lua", "renew_body.lua");
pub(crate) static RAISE: Script = script!("raise", 1, 0, "raise.lua");
pub(crate) static INSPECT: Script = script!("inspect", 3, 1, "inspect.lua");
pub(crate) static REGISTRY: Script = script!("registry", 2, 4, "registry.lua");
pub(crate) static DETACH: Script = script!("detach", 2, 5, "detach.lua");
pub(crate) static FORGET: Script = script!("forget", 2, 1, "forget.lua");

/// Every script, for those who load them ahead.
pub static ALL: [&Script; 8] = [&CLAIM, &RELEASE, &RENEW, &RAISE, &INSPECT, &REGISTRY, &DETACH, &FORGET];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_begins_with_its_name_purpose_keys_arguments_and_returns() {
        for script in ALL {
            let header = script.source.trim_start();
            assert!(header.starts_with(&format!("-- {}.lua: ", script.name)), "{}", script.name);
            for part in ["\n-- KEYS    1 ", "\n-- ARGV    ", "\n-- returns ", "\n-- O("] {
                assert!(header.contains(part), "{} lacks {part:?}", script.name);
            }
        }
    }

    #[test]
    fn headers_number_as_many_keys_and_arguments_as_the_script_uses() {
        for script in ALL {
            for (table, least) in [("KEYS", script.least_keys), ("ARGV", script.least_args)] {
                let used = (1..20).filter(|n| script.source.contains(&format!("{table}[{n}]"))).max().unwrap_or(0);
                assert!(used >= least, "{} uses {used} of {table}", script.name);
                let header = script.source.split(&format!("-- {table} ")).nth(1).expect("a header");
                let header = header.split("-- returns").next().expect("a header").split("-- ARGV").next().expect("a header");
                for n in 1..=least.max(used) {
                    assert!(header.contains(&format!("{n} ")), "{}: {table}[{n}] is not in the header", script.name);
                }
            }
        }
    }
}
