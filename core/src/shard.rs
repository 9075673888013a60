//! Which node speaks for which endpoint. Endpoints belong to shards for ever; the nodes that live share
//! the shards out among themselves, each by the same rule from the same rows.

use std::fmt;

use crate::id::EndpointId;

/// How many shards there are. Fixed: a shard is part of what Redis and the rows say.
pub const SHARDS: u8 = 64;

/// A share of the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u8);

impl Shard {
    /// The shard of an endpoint: of the last two characters of its id, which are random, by arithmetic
    /// that the database can do, too.
    pub fn of(endpoint: &EndpointId) -> Self {
        let mut last = endpoint.as_str().bytes().rev();
        let ultimate = last.next().unwrap_or_default();
        let penultimate = last.next().unwrap_or(ultimate);
        let mixed = u32::from(ultimate) * 31 + u32::from(penultimate);
        Self((mixed % u32::from(SHARDS)) as u8)
    }

    /// The first of them.
    pub const FIRST: Self = Self(0);

    /// The shard with this number, if there is one.
    pub fn from_row(number: i64) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| *number < SHARDS).map(Self)
    }

    /// Every shard.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    /// Its number, from 0.
    pub fn number(self) -> u8 {
        self.0
    }
}

/// A set of shards.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Shards(u64);

const _: () = assert!(SHARDS as u32 == u64::BITS, "a bit for each shard");

impl Shards {
    /// None.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self(u64::MAX);

    /// The set that has these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// A bit for each shard.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether `shard` is one of them.
    pub const fn contains(self, shard: Shard) -> bool {
        self.0 >> shard.0 & 1 == 1
    }

    /// Whether the shard of `endpoint` is one of them.
    pub fn hold(self, endpoint: &EndpointId) -> bool {
        self.contains(Shard::of(endpoint))
    }

    /// Those that are in `other`, too.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Shard> {
        Shard::all().filter(move |shard| self.contains(*shard))
    }
}

impl FromIterator<Shard> for Shards {
    fn from_iter<T: IntoIterator<Item = Shard>>(shards: T) -> Self {
        Self(shards.into_iter().fold(0, |bits, shard| bits | 1 << shard.0))
    }
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shards({:016x})", self.0)
    }
}

/// Names one life of one node: never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeNumber(pub i64);

impl NodeNumber {
    /// The only node of a database that others are kept off.
    pub const SOLE: Self = Self(0);
}

impl fmt::Display for NodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How a node stands, as its row says on the database's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its lease runs, and it takes shards.
    Serving,
    /// Its lease runs; it stops, and gives its shards away.
    Leaving,
    /// Its lease ran out, and nobody has said so yet.
    Late,
    /// It was said to be gone, or went: whatever it wrote now would be refused.
    Ended,
}

impl Standing {
    /// Every standing, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::Serving, Self::Leaving, Self::Late, Self::Ended];

    /// The standing as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Leaving => "leaving",
            Self::Late => "late",
            Self::Ended => "ended",
        }
    }
}

/// What a node does about the shards: pure, from what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Division {
    /// Shards to take, since whoever had them is gone.
    pub take: Shards,
    /// Shards that another serving node is to have.
    pub give: Shards,
}

/// The node that is to have `shard`: of those that serve, the one that draws the highest number for it.
/// One that joins or leaves moves its own share of the shards and no others.
pub fn owner_of(shard: Shard, serving: impl IntoIterator<Item = NodeNumber>) -> Option<NodeNumber> {
    serving.into_iter().max_by_key(|node| (draw(shard, *node), *node))
}

/// A number for each pair, by the finalizer of SplitMix64.
fn draw(shard: Shard, node: NodeNumber) -> u64 {
    let mut mixed = node.0.unsigned_abs().wrapping_mul(u64::from(SHARDS)) + u64::from(shard.0);
    mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// What `me` does, given how all nodes stand and who has each shard.
pub fn divide(
    me: NodeNumber,
    nodes: &[(NodeNumber, Standing)],
    owners: &[(Shard, Option<NodeNumber>)],
) -> Division {
    let serving = || nodes.iter().filter(|(_, standing)| *standing == Standing::Serving);
    let target = |shard| owner_of(shard, serving().map(|(number, _)| *number));
    // One that only leaves gives its shards away itself, and one that is late must be ended first.
    let has_them = |owner: &NodeNumber| {
        nodes.iter().any(|(number, standing)| number == owner && *standing != Standing::Ended)
    };
    let to_take = owners.iter().filter(|(shard, owner)| {
        target(*shard) == Some(me) && !owner.is_some_and(|owner| has_them(&owner))
    });
    let to_give = owners.iter().filter(|(shard, owner)| {
        *owner == Some(me) && target(*shard).is_some_and(|target| target != me)
    });
    Division {
        take: to_take.map(|(shard, _)| *shard).collect(),
        give: to_give.map(|(shard, _)| *shard).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn shards_by_owner(nodes: &[NodeNumber]) -> HashMap<NodeNumber, Shards> {
        let mut owned: HashMap<NodeNumber, Vec<Shard>> = HashMap::new();
        for shard in Shard::all() {
            let owner = owner_of(shard, nodes.iter().copied()).expect("somebody serves");
            owned.entry(owner).or_default().push(shard);
        }
        owned.into_iter().map(|(node, shards)| (node, shards.into_iter().collect())).collect()
    }

    #[test]
    fn endpoints_spread_over_all_shards() {
        let symbols = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut counts = [0; SHARDS as usize];
        for a in symbols {
            for b in symbols {
                let id = format!("whe_{}{}", char::from(*a), char::from(*b));
                counts[usize::from(Shard::of(&EndpointId::from_row(id)).number())] += 1;
            }
        }
        let even = symbols.len().pow(2) / counts.len();
        assert!(counts.iter().all(|count| (even / 2..=even * 2).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let some: Shards = Shard::all().filter(|shard| shard.number() % 3 == 0).collect();
        assert_eq!(some.len(), 22);
        assert!(Shard::all().all(|shard| some.contains(shard) == (shard.number() % 3 == 0)));
        assert_eq!(some.iter().collect::<Shards>(), some);
        assert_eq!(Shards::ALL.without(some).and(some), Shards::NONE);
        assert_eq!(Shard::all().collect::<Shards>(), Shards::ALL);
        assert_eq!(Shard::from_row(64), None);
    }

    #[test]
    fn shares_are_about_even() {
        for count in 2..=8 {
            let mut most = 0;
            for first in 1..200 {
                let nodes: Vec<_> = (first..first + count).map(NodeNumber).collect();
                let shares = shards_by_owner(&nodes);
                most = most.max(shares.values().map(|shards| shards.len()).max().unwrap_or(64));
            }
            assert!(i64::from(most) <= 3 * 64 / count, "{count} nodes: one has {most}");
        }
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn what_a_node_does_about_a_shard() {
        use Standing::{Ended, Late, Leaving, Serving};
        let (me, other) = (NodeNumber(1), NodeNumber(2));
        let mine = Shard::all().find(|s| owner_of(*s, [me, other]) == Some(me)).expect("one");
        let theirs = Shard::all().find(|s| owner_of(*s, [me, other]) == Some(other)).expect("one");
        for (what, i, he, shard, owner, take, give) in [
            ("nobody's, mine by rule",        Serving, Serving, mine,   None,        true,  false),
            ("nobody's, his by rule",         Serving, Serving, theirs, None,        false, false),
            ("mine and to stay",              Serving, Serving, mine,   Some(me),    false, false),
            ("mine, he has joined",           Serving, Serving, theirs, Some(me),    false, true),
            ("his, I have joined",            Serving, Serving, mine,   Some(other), false, false),
            ("his, and he is late",           Serving, Late,    theirs, Some(other), false, false),
            ("his, and he is gone",           Serving, Ended,   theirs, Some(other), true,  false),
            ("his, and he leaves",            Serving, Leaving, theirs, Some(other), false, false),
            ("mine, and I leave",             Leaving, Serving, mine,   Some(me),    false, true),
            ("mine, I leave, nobody else is", Leaving, Ended,   mine,   Some(me),    false, false),
            ("nobody's, and I leave",         Leaving, Ended,   mine,   None,        false, false),
        ] {
            let division = divide(me, &[(me, i), (other, he)], &[(shard, owner)]);
            let expected = Division {
                take: Shards::from_iter(take.then_some(shard)),
                give: Shards::from_iter(give.then_some(shard)),
            };
            assert_eq!(division, expected, "{what}");
        }
    }

    proptest! {
        #[test]
        fn one_that_joins_takes_its_share_and_moves_nothing_else(
            numbers in prop::collection::hash_set(1_i64..1000, 2..8),
        ) {
            let nodes: Vec<_> = numbers.into_iter().map(NodeNumber).collect();
            let (newcomer, before) = nodes.split_last().expect("two at least");
            for shard in Shard::all() {
                let (was, is) = (
                    owner_of(shard, before.iter().copied()),
                    owner_of(shard, nodes.iter().copied()),
                );
                prop_assert!(is == was || is == Some(*newcomer));
            }
        }

        #[test]
        fn all_nodes_agree_and_none_takes_what_another_has(
            standings in prop::collection::vec(0_u8..4, 1..6),
            owners in prop::collection::vec(0_i64..7, SHARDS as usize),
        ) {
            let nodes: Vec<_> = standings.iter().zip(1..).map(|(standing, number)| {
                let standing = [Standing::Serving, Standing::Leaving, Standing::Late, Standing::Ended]
                    [usize::from(*standing)];
                (NodeNumber(number), standing)
            }).collect();
            let owners: Vec<_> = Shard::all().zip(&owners)
                .map(|(shard, owner)| (shard, (*owner > 0).then_some(NodeNumber(*owner))))
                .collect();
            let mut taken = Shards::NONE;
            for (me, _) in &nodes {
                let division = divide(*me, &nodes, &owners);
                prop_assert!(division.take.and(taken).is_empty(), "two take one shard");
                taken = Shards::from_bits(taken.bits() | division.take.bits());
                for (shard, owner) in &owners {
                    let lives = |number: &NodeNumber| nodes.iter()
                        .any(|(n, standing)| n == number && *standing != Standing::Ended);
                    prop_assert!(!division.take.contains(*shard)
                        || !owner.is_some_and(|owner| lives(&owner)));
                    prop_assert!(!division.give.contains(*shard) || *owner == Some(*me));
                }
            }
        }
    }
}
