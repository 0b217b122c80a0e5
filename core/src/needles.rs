//! Words that are looked for in all of the text, several at once.

const BLOCK: usize = 256;
const REACH: usize = 5;

/// Two bytes of a needle and their distance: compared for a whole block at a time, as vectors, before anything else is.
#[derive(PartialEq, Clone, Copy)]
struct Pair {
    first: u8,
    second: u8,
    gap: usize,
}

pub struct Needles {
    needles: Vec<(Vec<u8>, usize)>, // each with the place of its pair
    pairs: Vec<Pair>,
}

impl Needles {
    /// Of needles that share a word the pair is the same: it starts at the first capital, the rarest letters in such texts.
    pub fn new<'a>(words: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut out = Needles { needles: Vec::new(), pairs: Vec::new() };
        for word in words.filter(|w| !w.is_empty()) {
            let capital = word.iter().position(u8::is_ascii_uppercase).unwrap_or(0);
            let (low, high) = if capital + 1 < word.len() {
                (capital, (capital + REACH).min(word.len() - 1))
            } else {
                (capital.saturating_sub(REACH), capital)
            };
            let pair = Pair { first: word[low], second: word[high], gap: high - low };
            if !out.pairs.contains(&pair) {
                out.pairs.push(pair);
            }
            out.needles.push((word.to_vec(), low));
        }
        out
    }

    /// The first place at or behind `from` where a needle's pair stands in the midst of that needle; the length if there is none.
    pub fn next(&self, data: &[u8], from: usize) -> usize {
        let mut at = from;
        while at + BLOCK + REACH <= data.len() {
            if self.in_block(&data[at..at + BLOCK + REACH]) {
                if let Some(place) = (at..at + BLOCK).find(|&p| self.at(data, p)) {
                    return place;
                }
            }
            at += BLOCK;
        }
        (at..data.len()).find(|&p| self.at(data, p)).unwrap_or(data.len())
    }

    /// How often a needle stands in the text.
    pub fn count(&self, data: &[u8]) -> usize {
        let (mut n, mut at) = (0, self.next(data, 0));
        while at < data.len() {
            n += 1;
            at = self.next(data, at + 1);
        }
        n
    }

    fn in_block(&self, block: &[u8]) -> bool {
        let mut hit = 0u8;
        for pair in &self.pairs {
            let (ones, others) = (&block[..BLOCK], &block[pair.gap..pair.gap + BLOCK]);
            for (&one, &other) in ones.iter().zip(others) {
                hit |= (one == pair.first) as u8 & (other == pair.second) as u8;
            }
        }
        hit != 0
    }

    fn at(&self, data: &[u8], place: usize) -> bool {
        self.needles.iter().any(|(word, low)| data[place] == word[*low] && place >= *low && data[place - low..].starts_with(word))
    }
}
