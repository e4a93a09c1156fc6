//! Resource names: parsed once at the edge, legal ever after.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

/// The name of a resource: 1 to 512 bytes of UTF-8 without control characters.
///
/// `business:resource:action` (`order:123:pay`) is the recommended form; [`ResourceName::of`] builds it. Names are compared
/// byte by byte: no case folding, no Unicode normalisation, no trimming.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName(Arc<str>);

impl ResourceName {
    /// The longest legal name, in bytes.
    pub const MAX_BYTES: usize = 512;

    /// Takes `name` if it is legal.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong and where.
    pub fn new(name: &str) -> Result<ResourceName, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > Self::MAX_BYTES {
            return Err(NameError::TooLong { bytes: name.len() });
        }
        if let Some((at, character)) = name.char_indices().find(|(_, c)| c.is_control()) {
            return Err(NameError::Control { at, character });
        }
        Ok(ResourceName(Arc::from(name)))
    }

    /// Builds `business:resource:action`, the recommended form.
    ///
    /// # Errors
    /// [`NameError`] if a part is empty or has a `:` of its own, or if the whole is not legal.
    pub fn of(business: &str, resource: &str, action: &str) -> Result<ResourceName, NameError> {
        for part in [business, resource, action] {
            if part.is_empty() || part.contains(':') {
                return Err(NameError::Part { part: String::from(part) });
            }
        }
        ResourceName::new(&format!("{business}:{resource}:{action}"))
    }

    /// The stripe of this resource that `key` belongs to, one of `stripes`: `stock:7#3/16`.
    ///
    /// For a resource that splits into parts, such as a stock of many pieces: whoever wants different stripes does not wait for
    /// each other. The same key always gives the same stripe, in every process and every version: FNV-1a of 64 bits over the
    /// bytes of `key`, modulo `stripes`. Another number of stripes is another set of locks, which does *not* exclude this one: all
    /// who share the resource use the same.
    ///
    /// # Errors
    /// [`NameError`] if there are no stripes, or if the name is too long with its number.
    ///
    /// # Examples
    /// ```
    /// # use leasehold_core::ResourceName;
    /// let stock = ResourceName::new("stock:7")?;
    /// assert_eq!(stock.stripe("buyer 42", 16)?.as_str(), "stock:7#2/16");
    /// # Ok::<(), leasehold_core::NameError>(())
    /// ```
    pub fn stripe(&self, key: impl AsRef<[u8]>, stripes: u32) -> Result<ResourceName, NameError> {
        if stripes == 0 {
            return Err(NameError::NoStripes);
        }
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let hash = key.as_ref().iter().fold(0xcbf2_9ce4_8422_2325, mix);
        ResourceName::new(&format!("{self}#{}/{stripes}", hash % u64::from(stripes)))
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ResourceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text is not a resource name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// The name has a control character.
    Control {
        /// Byte offset of the character.
        at: usize,
        /// The character.
        character: char,
    },
    /// The name is empty.
    Empty,
    /// [`ResourceName::stripe`] was asked for one of no stripes.
    NoStripes,
    /// A part given to [`ResourceName::of`] is empty or contains a colon.
    Part {
        /// The part.
        part: String,
    },
    /// The name is longer than [`ResourceName::MAX_BYTES`].
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Control { at, character } => {
                write!(f, "a resource name cannot contain the control character U+{:04X} (at byte {at})", u32::from(*character))
            }
            NameError::Empty => f.write_str("a resource name cannot be empty"),
            NameError::NoStripes => f.write_str("a resource has at least one stripe, got 0"),
            NameError::Part { part } => {
                write!(f, "a part of a resource name must be non-empty and without ':', got {part:?}")
            }
            NameError::TooLong { bytes } => {
                write!(f, "a resource name has at most {} bytes, got {bytes}", ResourceName::MAX_BYTES)
            }
        }
    }
}

impl core::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn any_utf8_up_to_512_bytes_is_legal() {
        for name in ["a", "order:123:pay", "ключ ☃", "{a}b}{", " ", &"x".repeat(512)] {
            assert_eq!(ResourceName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn illegal_names_are_refused_with_a_reason() {
        assert_eq!(ResourceName::new(""), Err(NameError::Empty));
        assert_eq!(ResourceName::new(&"é".repeat(257)), Err(NameError::TooLong { bytes: 514 }));
        let error = ResourceName::new("a\nb").unwrap_err();
        assert_eq!(error.to_string(), "a resource name cannot contain the control character U+000A (at byte 1)");
        assert!(ResourceName::new("a\u{85}").is_err());
    }

    #[test]
    fn the_recommended_form_is_built_from_three_parts() {
        assert_eq!(ResourceName::of("order", "123", "pay").unwrap().as_str(), "order:123:pay");
        assert!(ResourceName::of("order", "1:2", "pay").is_err());
        assert!(ResourceName::of("", "1", "pay").is_err());
    }

    #[test]
    fn a_key_always_belongs_to_the_same_stripe() {
        let stock = ResourceName::new("stock:7").unwrap();
        // The hash's published test values, modulo 16 and 1000.
        for (key, stripe) in [("", "stock:7#5/16"), ("a", "stock:7#12/16"), ("foobar", "stock:7#8/16")] {
            assert_eq!(stock.stripe(key, 16).unwrap().as_str(), stripe);
        }
        assert_eq!(stock.stripe("a", 1).unwrap().as_str(), "stock:7#0/1");
        assert_eq!(stock.stripe("a", 0), Err(NameError::NoStripes));
        assert!(ResourceName::new(&"x".repeat(509)).unwrap().stripe("a", 16).is_err());
    }

    #[test]
    fn keys_are_spread_over_the_stripes() {
        let stock = ResourceName::new("stock:7").unwrap();
        let mut counts = std::collections::BTreeMap::<ResourceName, u32>::new();
        for key in 0..1600 {
            *counts.entry(stock.stripe(std::format!("buyer {key}"), 16).unwrap()).or_default() += 1;
        }
        assert_eq!(counts.len(), 16);
        assert!(counts.values().all(|count| (60..=140).contains(count)), "{counts:?}");
    }
}
