//! How requests are split among the revisions of a deployment: plain functions of what is asked.

use std::collections::{BTreeMap, BTreeSet};

use eyot_core::{Error, Result, ScopedName};
use serde::{Deserialize, Serialize};

/// Which revisions answer, and how much of what each.
///
/// Every revision that is named here can be reached by its number, one of weight 0 only so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Revision → weight. A revision's share is its weight out of all weights' sum.
    pub weights: BTreeMap<u64, u32>,
    /// A request's header, or else its parameter: requests of one value go to one revision for as long
    /// as the weights stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<String>,
    /// A revision that answers beside the others, without being heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
}

/// Requests are answered twice: the client gets one answer, the other is compared with it and counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    pub revision: u64,
    /// How many of a hundred requests.
    pub percent: u8,
}

impl Traffic {
    /// Everything to one revision.
    pub fn all(revision: u64) -> Self {
        Self { weights: BTreeMap::from([(revision, 100)]), ..Self::default() }
    }

    /// Whether requests end at the same revisions as often.
    pub(crate) fn shares_like(&self, other: &Self) -> bool {
        let shares = |traffic: &Self| {
            let weights = traffic.weights.iter().filter(|(_, weight)| **weight > 0);
            weights.map(|(revision, weight)| (*revision, *weight)).collect::<Vec<_>>()
        };
        shares(self) == shares(other) && self.shadow == other.shadow
    }

    /// The revision with the largest share; of equals the newest.
    pub fn main(&self) -> Option<u64> {
        let heaviest = self.weights.iter().filter(|(_, weight)| **weight > 0);
        heaviest.max_by_key(|(revision, weight)| (**weight, **revision)).map(|(revision, _)| *revision)
    }

    /// Every revision that is named.
    pub fn revisions(&self) -> BTreeSet<u64> {
        let shadow = self.shadow.as_ref().map(|shadow| shadow.revision);
        self.weights.keys().copied().chain(shadow).collect()
    }

    /// The revision for a point of the scale from 0 to 2⁶⁴. Equal points meet equal revisions, and
    /// points that are spread evenly meet each as often as its weight says.
    pub fn pick(&self, point: u64) -> Option<u64> {
        let total: u64 = self.weights.values().map(|weight| u64::from(*weight)).sum();
        let scaled = (u128::from(point) * u128::from(total)) >> 64;
        let mut rest = u64::try_from(scaled).unwrap_or_default();
        for (revision, weight) in &self.weights {
            let weight = u64::from(*weight);
            if rest < weight {
                return Some(*revision);
            }
            rest -= weight;
        }
        None
    }

    /// Fails with `Invalid` when nothing would answer, or what is named cannot be.
    pub fn check(&self, name: &ScopedName) -> Result<()> {
        let hint = format!("write REVISION=WEIGHT, as in: eyot traffic {name} 1=90 2=10");
        if self.main().is_none() {
            return Err(Error::invalid(format!("no revision of '{name}' would answer")).hint(hint));
        }
        if let Some(shadow) = &self.shadow
            && !(1..=100).contains(&shadow.percent)
        {
            return Err(Error::invalid(format!(
                "{} of a hundred requests cannot be shadowed",
                shadow.percent
            ))
            .hint("give a percentage from 1 to 100"));
        }
        if self.sticky.as_ref().is_some_and(|header| !is_token(header)) {
            let sticky = self.sticky.as_deref().unwrap_or_default();
            return Err(Error::invalid(format!("'{sticky}' is no name of a header")));
        }
        Ok(())
    }
}

/// Whether a header may be called so (RFC 9110, 5.6.2).
fn is_token(text: &str) -> bool {
    let special = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special(byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn traffic(weights: &[(u64, u32)]) -> Traffic {
        Traffic { weights: weights.iter().copied().collect(), ..Traffic::default() }
    }

    #[test]
    fn shares_are_as_the_weights_say() {
        let split = traffic(&[(1, 90), (2, 0), (3, 10)]);
        let mut counts = BTreeMap::<u64, u32>::new();
        for step in 0..1000_u64 {
            *counts.entry(split.pick(step * (u64::MAX / 1000) + u64::MAX / 2000).unwrap()).or_default() += 1;
        }
        assert_eq!(counts, BTreeMap::from([(1, 900), (3, 100)]));
        assert_eq!(split.pick(u64::MAX), Some(3));
        assert_eq!(traffic(&[(1, 0)]).pick(7), None);
        assert_eq!(traffic(&[(4, u32::MAX), (5, u32::MAX)]).pick(u64::MAX), Some(5));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let name: ScopedName = "a".parse().unwrap();
        assert!(Traffic::all(3).check(&name).is_ok());
        let shadow = |percent| Traffic { shadow: Some(Shadow { revision: 1, percent }), ..Traffic::all(2) };
        let sticky = |header: &str| Traffic { sticky: Some(header.into()), ..Traffic::all(2) };
        for wrong in [traffic(&[]), traffic(&[(1, 0)]), shadow(0), shadow(101), sticky(""), sticky("a b")] {
            assert!(wrong.check(&name).is_err(), "{wrong:?}");
        }
        assert_eq!(shadow(5).revisions(), BTreeSet::from([1, 2]));
        assert_eq!((Traffic::all(3).main(), traffic(&[(1, 5), (2, 5), (3, 4)]).main()), (Some(3), Some(2)));
    }
}
