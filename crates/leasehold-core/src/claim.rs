//! Claims: who wants how many permits of a resource, and the numbers of the requests that ask for them.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// The two hexadecimal digits of each byte.
static PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// The 128-bit id of one attempt: 64 random bits of the client and 64 of the attempt's own. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId {
    client: u64,
    serial: u64,
}

impl ClaimId {
    /// The id of `client`'s attempt `serial`; both must come from a random source.
    pub const fn new(client: u64, serial: u64) -> ClaimId {
        ClaimId { client, serial }
    }

    /// The half that every claim of one client shares.
    pub const fn client(self) -> u64 {
        self.client
    }

    /// What `Display` writes, in ASCII.
    pub fn digits(self) -> [u8; 32] {
        // By hand: each lock writes its id twice, and a format string takes several times as long.
        let mut digits = [0; 32];
        let bytes = ((u128::from(self.client) << 64) | u128::from(self.serial)).to_be_bytes();
        for (byte, pair) in bytes.into_iter().zip(digits.chunks_exact_mut(2)) {
            pair.copy_from_slice(&PAIRS[usize::from(byte)]);
        }
        digits
    }

    /// The half of this attempt alone.
    pub const fn serial(self) -> u64 {
        self.serial
    }
}

/// 32 lower-case hexadecimal digits, the client's half first; also the form on the wire.
impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(&self.digits()).expect("digits are ASCII"))
    }
}

impl fmt::Debug for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ClaimId {
    type Err = ParseClaimIdError;

    /// Reads exactly the form that `Display` writes.
    fn from_str(text: &str) -> Result<ClaimId, ParseClaimIdError> {
        let wrong = || ParseClaimIdError(String::from(text));
        let legal = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !legal {
            return Err(wrong());
        }
        let half = |digits| u64::from_str_radix(digits, 16).map_err(|_| wrong());
        Ok(ClaimId::new(half(&text[..16])?, half(&text[16..])?))
    }
}

/// A text that is not a claim's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseClaimIdError(String);

impl fmt::Display for ParseClaimIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a claim is 32 lower-case hexadecimal digits, got {:?}", self.0)
    }
}

impl core::error::Error for ParseClaimIdError {}

/// The number of a request of one claim; rises by one with each request that the claim sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReqNo(pub u32);

/// What a claim wants: `permits` of the `capacity` permits that the resource has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Want {
    permits: u32,
    capacity: u32,
}

impl Want {
    /// One of one: a mutex.
    pub const ALL_OF_ONE: Want = Want { permits: 1, capacity: 1 };

    /// `permits` of `capacity`; `None` unless 1 ≤ permits ≤ capacity.
    pub const fn new(permits: u32, capacity: u32) -> Option<Want> {
        if permits == 0 || permits > capacity {
            return None;
        }
        Some(Want { permits, capacity })
    }

    /// How many permits are wanted.
    pub const fn permits(self) -> u32 {
        self.permits
    }

    /// How many permits the resource has in all.
    pub const fn capacity(self) -> u32 {
        self.capacity
    }

    /// True if nobody else can hold beside this claim.
    pub const fn is_exclusive(self) -> bool {
        self.permits == self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_claim_id_is_read_back_as_it_was_written() {
        let id = ClaimId::new(0xdead_beef, 7);
        assert_eq!(id.to_string(), "00000000deadbeef0000000000000007");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn other_spellings_of_a_claim_id_are_refused() {
        for text in ["", "00000000DEADBEEF0000000000000007", "+0000000deadbeef0000000000000007", "ééééééééééééééé12"]
        {
            assert!(text.parse::<ClaimId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_want_never_exceeds_its_capacity() {
        assert_eq!(Want::new(0, 1), None);
        assert_eq!(Want::new(2, 1), None);
        assert_eq!(Want::new(1, 1), Some(Want::ALL_OF_ONE));
    }
}
