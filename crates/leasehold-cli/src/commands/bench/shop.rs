//! The shop: a stock outside of the lock's store, which can compare tokens, and which notes every item that is sold twice.

use serde::{Deserialize, Serialize};

/// What proves a hold to the shop: the fencing token, and the claim that it was given to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The fencing token.
    pub token: u64,
    /// The claim.
    pub claim: String,
}

/// A buyer: of which process, and which of its buyers.
pub type Buyer = (usize, u32);

/// The stock and its ledger.
#[derive(Debug)]
pub struct Shop {
    stock: u64,
    /// True if the shop compares tokens.
    checks: bool,
    greatest: Option<Proof>,
    /// The first buyer of each item.
    ledger: Vec<Option<Buyer>>,
    /// How many sales there were.
    pub sold: u64,
    /// How many of them were of an item that had been sold.
    pub oversold: u64,
    /// How many visits and sales were refused for an older token.
    pub fenced: u64,
    /// The first item that was sold twice, and its two buyers.
    pub first_oversold: Option<Double>,
}

/// An item that was sold twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Double {
    /// Which one.
    pub item: u64,
    /// To whom.
    pub buyers: [String; 2],
}

/// The token is older than one that the shop has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl Shop {
    /// A shop with this stock.
    pub fn new(stock: u64, checks: bool) -> Shop {
        let items = usize::try_from(stock).unwrap_or(0);
        Shop { stock, checks, greatest: None, ledger: vec![None; items], sold: 0, oversold: 0, fenced: 0, first_oversold: None }
    }

    /// What is left to sell, as the shelf says.
    pub fn left(&self) -> u64 {
        self.stock
    }

    /// A buyer reads the stock. That a checking shop keeps the token of a mere reader is part of the protocol: otherwise an older
    /// holder could sell between this read and the sale that rests on it.
    ///
    /// # Errors
    /// [`Refused`], if the shop compares tokens and has seen a newer one.
    pub fn read(&mut self, proof: Option<&Proof>) -> Result<u64, Refused> {
        self.check(proof)?;
        Ok(self.stock)
    }

    /// A buyer takes `item`, the last one when it read the stock, and writes the stock that it makes of that. One step with the
    /// comparison of the token; without it, just what the buyer says.
    ///
    /// # Errors
    /// [`Refused`], if the shop compares tokens and has seen a newer one.
    pub fn sell(&mut self, buyer: Buyer, item: u64, proof: Option<&Proof>) -> Result<(), Refused> {
        self.check(proof)?;
        let Some(place) = item.checked_sub(1).and_then(|at| self.ledger.get_mut(usize::try_from(at).ok()?)) else {
            return Err(Refused);
        };
        self.stock = item - 1;
        self.sold += 1;
        match place {
            None => *place = Some(buyer),
            Some(first) => {
                self.oversold += 1;
                let name = |(process, buyer): Buyer| format!("{}.{}", process + 1, buyer + 1);
                let buyers = [name(*first), name(buyer)];
                self.first_oversold.get_or_insert(Double { item, buyers });
            }
        }
        Ok(())
    }

    fn check(&mut self, proof: Option<&Proof>) -> Result<(), Refused> {
        let (true, Some(proof)) = (self.checks, proof) else { return Ok(()) };
        // An equal token of another claim would be a store that lost its counter.
        let is_good = self.greatest.as_ref().is_none_or(|seen| proof.token > seen.token || proof == seen);
        if !is_good {
            self.fenced += 1;
            return Err(Refused);
        }
        self.greatest = Some(proof.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(token: u64) -> Option<Proof> {
        Some(Proof { token, claim: format!("claim {token}") })
    }

    #[test]
    fn a_sale_that_rests_on_an_old_read_sells_an_item_twice() {
        let mut shop = Shop::new(10, false);
        let old = shop.read(None).unwrap();
        let new = shop.read(None).unwrap();
        shop.sell((1, 4), new, None).unwrap();
        shop.sell((0, 0), old, None).unwrap();
        assert_eq!((shop.sold, shop.oversold, shop.left()), (2, 1, 9));
        let double = Double { item: 10, buyers: ["2.5".into(), "1.1".into()] };
        assert_eq!(shop.first_oversold, Some(double));
    }

    #[test]
    fn a_shop_that_checks_refuses_the_older_token() {
        let mut shop = Shop::new(10, true);
        let (old, new) = (proof(3), proof(4));
        let item = shop.read(old.as_ref()).unwrap();
        assert_eq!(shop.read(new.as_ref()), Ok(item));
        assert_eq!(shop.sell((0, 0), item, old.as_ref()), Err(Refused));
        assert_eq!(shop.sell((1, 0), item, new.as_ref()), Ok(()));
        assert_eq!(shop.read(old.as_ref()), Err(Refused));
        assert_eq!((shop.sold, shop.oversold, shop.fenced), (1, 0, 2));
    }

    #[test]
    fn an_equal_token_of_another_claim_is_refused() {
        let mut shop = Shop::new(10, true);
        shop.read(proof(3).as_ref()).unwrap();
        let twin = Some(Proof { token: 3, claim: "another".into() });
        assert_eq!(shop.read(twin.as_ref()), Err(Refused));
        assert_eq!(shop.read(proof(3).as_ref()), Ok(10));
    }

    #[test]
    fn there_is_nothing_below_the_last_item() {
        let mut shop = Shop::new(1, false);
        assert_eq!(shop.sell((0, 0), 0, None), Err(Refused));
        assert_eq!(shop.sell((0, 0), 2, None), Err(Refused));
        assert_eq!((shop.sold, shop.left()), (0, 1));
    }
}
