//! The names of our keys and channels, and the slot of a cluster that a key lives in.

use leasehold_core::ResourceName;
use std::borrow::Cow;
use std::fmt;

/// All keys and channels of Leasehold behind one prefix.
///
/// The lock of a resource is `prefix + name`, so that any client that does `SET NX PX` on it is excluded too. A name has no
/// control character; every other key of ours has U+0001 right after the prefix. So none of them is ever a resource's key,
/// whatever its name, and none is another's: the characters after U+0001 (`q{`, `p{`, `token`, `clients`, `client:`, `to:`)
/// tell them apart. All begin with the prefix, as a rule `~PREFIX*` or `&PREFIX*` of an access list needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    prefix: String,
    counter: String,
}

/// The four keys of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The lock: a string, the holder's claim.
    pub lock: String,
    /// The queue: a list of those who wait.
    pub queue: String,
    /// What later asks have made of their places: a hash by claim.
    pub places: String,
    /// The token counter of the server.
    pub counter: String,
}

impl Space {
    /// The prefix unless another is set.
    pub const DEFAULT_PREFIX: &'static str = "leasehold:";

    /// The keys behind `prefix`, which may be empty.
    ///
    /// # Errors
    /// A control character, or a `{` that is not the start of a whole, non-empty `{tag}`: then a resource's keys could not
    /// share a slot.
    pub fn new(prefix: &str) -> Result<Space, PrefixError> {
        if prefix.chars().any(char::is_control) {
            return Err(PrefixError::Control);
        }
        if prefix.contains('{') && tag(prefix).is_none() {
            return Err(PrefixError::Brace);
        }
        Ok(Space { prefix: prefix.to_owned(), counter: [prefix, "\u{1}token"].concat() })
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of a resource's lock.
    pub fn lock(&self, name: &ResourceName) -> String {
        [&self.prefix, name.as_str()].concat()
    }

    /// The key of a resource's lock, and that of its queue unless the scripts derive the same one by themselves: behind the
    /// default prefix, where the whole lock is its tail. Each key costs an uncontended cycle 7 %.
    pub(crate) fn lock_and_queue(&self, name: &ResourceName) -> Vec<String> {
        let lock = self.lock(name);
        let plain = self.prefix == Space::DEFAULT_PREFIX && !lock.contains(['{', '}']);
        let queue = (!plain).then(|| self.queue(&lock, name));
        // With room for two arguments.
        let mut keys = Vec::with_capacity(4);
        keys.push(lock);
        keys.extend(queue);
        keys
    }

    fn queue(&self, lock: &str, name: &ResourceName) -> String {
        let (tag, rest) = tail(lock, name);
        [&self.prefix, "\u{1}q{", &tag, "}", rest].concat()
    }

    /// The four keys of a resource.
    pub fn keys(&self, name: &ResourceName) -> Keys {
        let lock = self.lock(name);
        let queue = self.queue(&lock, name);
        let (tag, rest) = tail(&lock, name);
        let places = [&self.prefix, "\u{1}p{", &tag, "}", rest].concat();
        Keys { lock, queue, places, counter: self.counter.clone() }
    }

    /// The token counter.
    pub fn counter(&self) -> &str {
        &self.counter
    }

    /// The sorted set of clients.
    pub fn clients(&self) -> String {
        format!("{}\u{1}clients", self.prefix)
    }

    /// The hash of what one client holds and waits for.
    pub fn client(&self, client: u64) -> String {
        format!("{}\u{1}client:{client:016x}", self.prefix)
    }

    /// What the channel of each client begins with.
    fn channels(&self) -> String {
        format!("{}\u{1}to:", self.prefix)
    }

    /// The channel that a client's grants are told on.
    pub fn channel(&self, client: u64) -> String {
        format!("{}{client:016x}", self.channels())
    }
}

/// T and REST of `{T}REST`, which puts a key into the slot of `lock` and is the name's alone.
///
/// T is the lock's own tag, else the whole lock (that is what the slot is of), else, as a tag cannot have a `}`, the first
/// number of that slot. REST is the name, and empty where T is the whole lock. T has no `}` in any case, so T and REST
/// are read back from the key: the name is REST, or T without the prefix if REST is empty. So no two names share a tail.
fn tail<'a>(lock: &'a str, name: &'a ResourceName) -> (Cow<'a, str>, &'a str) {
    if let Some(tag) = tag(lock) {
        return (tag.into(), name.as_str());
    }
    if !lock.contains('}') {
        return (lock.into(), "");
    }
    let number = (0u32..).map(|n| n.to_string()).find(|n| slot(n) == slot(lock)).expect("numbers reach every slot");
    (number.into(), name.as_str())
}

/// Why a text is no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrefixError {
    /// It has a control character.
    Control,
    /// It has a `{` that begins no whole, non-empty `{tag}`.
    Brace,
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PrefixError::Control => "a prefix cannot contain a control character",
            PrefixError::Brace => "a '{' in a prefix must begin a whole, non-empty {tag}",
        })
    }
}

impl std::error::Error for PrefixError {}

/// The hash tag of a key, if it has one: what is between its first `{` and the first `}` behind it, unless that is nothing.
fn tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

/// The slot of a key in a cluster: CRC-16/XMODEM of its tag, or of all of it, modulo 16 384.
pub fn slot(key: &str) -> u16 {
    let crc = tag(key).unwrap_or(key).bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 })
    });
    crc % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const ODD: [&str; 16] = [
        "a",
        "order:123:pay",
        "{a}b",
        "b{a}",
        "{a",
        "a}",
        "{}a",
        "a{}b{c}",
        "}{a}",
        "}a",
        "{a}}",
        "{{a}}",
        "ключ ☃",
        "1}",
        "{1}}1}",
        "{leasehold:a}",
    ];

    fn name(text: &str) -> ResourceName {
        ResourceName::new(text).unwrap()
    }

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("foo{bar}baz"), slot("bar"));
        assert_eq!(slot("foo{}{bar}"), 8363);
    }

    #[test]
    fn all_keys_of_a_resource_share_its_slot_whatever_its_name() {
        for prefix in ["", "leasehold:", "{app}:"] {
            let space = Space::new(prefix).unwrap();
            for text in ODD {
                let keys = space.keys(&name(text));
                assert_eq!(slot(&keys.queue), slot(&keys.lock), "{prefix}{text}");
                assert_eq!(slot(&keys.places), slot(&keys.lock), "{prefix}{text}");
            }
        }
    }

    #[test]
    fn no_two_keys_are_equal_whatever_the_names() {
        for prefix in ["", "leasehold:", "{app}:"] {
            let space = Space::new(prefix).unwrap();
            let mut seen = HashSet::from([space.counter().to_owned(), space.clients(), space.client(1), space.channel(1)]);
            for text in ODD {
                let keys = space.keys(&name(text));
                for key in [keys.lock, keys.queue, keys.places] {
                    assert!(key.starts_with(prefix));
                    assert!(seen.insert(key.clone()), "{key:?}");
                }
            }
        }
    }

    #[test]
    fn keys_that_are_not_named_are_those_that_scripts_derive() {
        for prefix in ["", "leasehold:", "{app}:"] {
            let space = Space::new(prefix).unwrap();
            for text in ODD {
                let keys = space.keys(&name(text));
                let named = space.lock_and_queue(&name(text));
                assert_eq!(named[0], keys.lock);
                let derived = |kind| format!("leasehold:\u{1}{kind}{{{}}}", keys.lock);
                match named.get(1) {
                    Some(queue) => assert_eq!(*queue, keys.queue),
                    None => assert_eq!([derived("q"), derived("p")], [keys.queue, keys.places], "{prefix}{text}"),
                }
            }
        }
        let space = Space::new("leasehold:").unwrap();
        assert_eq!(space.lock_and_queue(&name("order:123:pay")).len(), 1, "the usual case");
        let words = [space.counter(), &space.channels()].map(|key| format!("'{}'", key.replace('\u{1}', "\\1")));
        assert!(words.iter().all(|word| include_str!("lua/keys.lua").contains(word)), "{words:?}");
    }

    #[test]
    fn a_prefix_that_would_split_a_resource_over_slots_is_refused() {
        assert_eq!(Space::new("{app:"), Err(PrefixError::Brace));
        assert_eq!(Space::new("{}app:"), Err(PrefixError::Brace));
        assert_eq!(Space::new("a\n"), Err(PrefixError::Control));
    }
}
