//! Inputs made out of others.

/// Makes inputs, the same ones for the same seed.
pub(crate) struct Mutator<'a> {
    state: u64,
    dictionary: &'a [&'a str],
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(seed: u64, dictionary: &'a [&'a str]) -> Self {
        Self {
            state: seed,
            dictionary,
        }
    }

    /// `SplitMix64`.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        usize::try_from(self.random() % bound).expect("below a usize")
    }

    /// Takes one of the kept inputs, the newer ones more often, and changes it in a few places.
    pub(crate) fn next(&mut self, kept: &[Vec<u8>], limit: usize) -> Vec<u8> {
        let place = if self.below(2) == 0 {
            kept.len() - 1 - self.below(kept.len().min(64))
        } else {
            self.below(kept.len())
        };
        let mut input = kept[place].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut input, kept);
        }
        input.truncate(limit);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, kept: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let length = self.below(16) + 1;
        let end = (at + length).min(input.len());
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 => input.insert(at, self.random().to_le_bytes()[0]),
            2 => drop(input.drain(at..end)),
            3 => {
                let part = input[at..end].to_vec();
                for _ in 0..=self.below(4) {
                    input.splice(at..at, part.iter().copied());
                }
            }
            4 => {
                let other = self.below(kept.len());
                let from = self.below(kept[other].len() + 1);
                let to = (from + self.below(64)).min(kept[other].len());
                let part = kept[other][from..to].to_vec();
                input.splice(at..end, part);
            }
            5 => {
                let other = self.below(kept.len());
                let from = self.below(kept[other].len() + 1);
                input.truncate(at);
                input.extend_from_slice(&kept[other][from..]);
            }
            6 if at < input.len() => {
                const EDGES: [u8; 12] = [0, 1, 9, 10, 13, 32, 34, 39, 92, 127, 128, 255];
                input[at] = EDGES[self.below(EDGES.len())];
            }
            _ => {
                let word = self.dictionary[self.below(self.dictionary.len())];
                let end = if self.below(2) == 0 { at } else { end };
                input.splice(at..end, word.bytes());
            }
        }
    }
}
