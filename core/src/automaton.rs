//! Which of many texts an expression is found in: an automaton that is built as far as the texts need it, and walked over several
//! of them at once, for one step must wait for the one before but not for another text's.

use std::collections::HashMap;

use crate::pattern::{is_word, program, Node};

const LANES: usize = 4;
/// States that are kept, and nodes in all of them; when there are more, all are forgotten.
const MAX_STATES: usize = 1 << 13;
const MAX_HELD: usize = 1 << 20;
/// Bytes that a step which was not known must have been worth on average, or the texts were made to need such all the time.
const WORTH: usize = 1024;

/// In the table, of what is no state: not known yet, and found. States are the places where their rows begin.
const UNKNOWN: u32 = u32::MAX;
const FOUND: u32 = u32::MAX - 1;
const SPECIAL: u32 = 1 << 31;

/// The nodes that wait for the next byte beside those that every place begins with, and whether a word's letter was last.
type State = (Vec<u32>, bool);

pub struct Automaton {
    nodes: Vec<Node>,
    begin: Vec<u32>,   // what every place begins with
    begins: Vec<bool>, // by node
    first: State,
    first_row: Option<u32>,
    class: [u8; 256],                     // bytes that no node tells apart
    sample: Vec<u8>,                      // a byte of each class
    begun: Vec<Option<Option<Vec<u32>>>>, // what `begin` becomes, by class and last byte; inside None where that is found
    states: Vec<State>,
    index: HashMap<State, u32>,
    table: Vec<u32>,
    marks: Marks,
    held: usize, // nodes of all states
    room: usize, // for states
}

/// Nodes, each once.
struct Marks {
    stamp: Vec<u32>,
    now: u32,
    list: Vec<u32>,
}

impl Marks {
    fn clear(&mut self) {
        self.now += 1;
        if self.now == u32::MAX {
            self.stamp.fill(0);
            self.now = 1;
        }
        self.list.clear();
    }

    fn add(&mut self, node: u32) -> bool {
        let new = self.stamp[node as usize] != self.now;
        self.stamp[node as usize] = self.now;
        if new {
            self.list.push(node);
        }
        new
    }
}

/// What is known about a place between two bytes.
#[derive(Clone, Copy, Default)]
struct Place {
    start: bool,
    end: bool,
    edge: Option<bool>, // not known before the next byte is
}

#[derive(Clone, Copy, Default)]
struct Lane<'a> {
    rest: &'a [u8],
    state: u32,
    number: usize,
}

impl Automaton {
    pub fn new(pattern: &[u8]) -> Option<Automaton> {
        let (nodes, start) = program(pattern)?;
        let (class, sample) = classes(&nodes);
        let marks = Marks { stamp: vec![0; nodes.len()], now: 0, list: Vec::new() };
        let begun = vec![None; 2 * sample.len()];
        let mut new = Automaton {
            begins: vec![false; nodes.len()],
            nodes,
            begin: Vec::new(),
            first: State::default(),
            first_row: None,
            class,
            sample,
            begun,
            states: Vec::new(),
            index: HashMap::new(),
            table: Vec::new(),
            marks,
            held: 0,
            room: MAX_STATES,
        };
        new.marks.clear();
        if new.reach(start as u32, Place::default()) {
            return None; // found in every text
        }
        new.begin = new.others();
        new.begin.iter().for_each(|&node| new.begins[node as usize] = true);
        new.marks.clear();
        if new.reach(start as u32, Place { start: true, ..Place::default() }) {
            return None;
        }
        new.first = (new.others(), false);
        Some(new)
    }

    #[cfg(test)]
    pub fn with_room(mut self, states: usize) -> Automaton {
        self.room = states;
        self
    }

    /// Set `found` for the texts that the expression is in; false if that would take too long.
    pub fn find<'a>(&mut self, texts: impl Iterator<Item = &'a [u8]>, found: &mut [u8]) -> bool {
        let mut texts = texts.enumerate().take(found.len());
        let mut lanes: Vec<Lane> = Vec::with_capacity(LANES);
        let mut paid = 4 * MAX_STATES * WORTH;
        loop {
            while lanes.len() < LANES {
                let Some((number, rest)) = texts.next() else { break };
                let state = self.first_row.unwrap_or_else(|| self.state(self.first.clone()));
                self.first_row = Some(state);
                lanes.push(Lane { rest, state, number });
            }
            if lanes.is_empty() {
                return true;
            }
            paid += self.walk(&mut lanes);
            for at in (0..lanes.len()).rev() {
                let lane = lanes[at];
                let class = lane.rest.first().map_or(self.sample.len(), |&byte| self.class[byte as usize] as usize);
                let mut next = self.table[lane.state as usize + class];
                if next == UNKNOWN {
                    if paid < WORTH {
                        return false;
                    }
                    paid -= WORTH;
                    if self.states.len() >= self.room || self.held > MAX_HELD {
                        self.forget(&mut lanes);
                    }
                    next = self.learn(lanes[at].state, class);
                }
                if next == FOUND {
                    found[lane.number] = 1;
                }
                if next == FOUND || lane.rest.is_empty() {
                    lanes.swap_remove(at);
                } else {
                    lanes[at].state = next;
                    lanes[at].rest = &lane.rest[1..];
                }
            }
        }
    }

    /// Walk the lanes side by side to where one of them ends or comes to something special; tells how many bytes that took.
    fn walk(&self, lanes: &mut [Lane]) -> usize {
        let steps = lanes.iter().map(|lane| lane.rest.len()).min().unwrap_or(0);
        let mut done = 0;
        if let [a, b, c, d] = lanes {
            let texts = a.rest[..steps].iter().zip(&b.rest[..steps]).zip(c.rest[..steps].iter().zip(&d.rest[..steps]));
            for ((&one, &two), (&three, &four)) in texts {
                let next = [self.step(a, one), self.step(b, two), self.step(c, three), self.step(d, four)];
                if (next[0] | next[1] | next[2] | next[3]) & SPECIAL != 0 {
                    break;
                }
                [a.state, b.state, c.state, d.state] = next;
                done += 1;
            }
        } else {
            let lane = &mut lanes[0];
            for &byte in lane.rest {
                let next = self.step(lane, byte);
                if next & SPECIAL != 0 {
                    break;
                }
                lane.state = next;
                done += 1;
            }
            lane.rest = &lane.rest[done..];
            return done;
        }
        lanes.iter_mut().for_each(|lane| lane.rest = &lane.rest[done..]);
        done * LANES
    }

    #[inline(always)]
    fn step(&self, lane: &Lane, byte: u8) -> u32 {
        self.table[lane.state as usize + self.class[byte as usize] as usize]
    }

    /// Where a state goes on a class of bytes, or at the end of the text, which is a class too.
    fn learn(&mut self, state: u32, class: usize) -> u32 {
        let (waiting, word) = self.states[state as usize / self.stride()].clone();
        let next = match self.sample.get(class).copied() {
            None => {
                self.marks.clear();
                let place = Place { end: true, edge: Some(word), ..Place::default() };
                let last: Vec<u32> = self.begin.iter().chain(&waiting).copied().collect();
                let found = last
                    .into_iter()
                    .any(|node| matches!(self.nodes[node as usize], Node::End(_) | Node::Edge(_)) && self.reach(node, place));
                if found {
                    FOUND
                } else {
                    0
                }
            }
            Some(byte) => match self.after(&waiting, word, class, byte) {
                None => FOUND,
                Some(after) => self.state((after, is_word(byte))),
            },
        };
        self.table[state as usize + class] = next;
        next
    }

    /// What waits behind a byte; None if there the expression is found.
    fn after(&mut self, waiting: &[u32], word: bool, class: usize, byte: u8) -> Option<Vec<u32>> {
        let place = class * 2 + word as usize;
        if self.begun[place].is_none() {
            let begin = self.begin.clone();
            self.marks.clear();
            let found = begin.iter().any(|&node| self.pass(node, word, byte));
            self.begun[place] = Some((!found).then(|| self.others()));
        }
        self.marks.clear();
        let begun = self.begun[place].clone()??;
        for node in begun {
            self.marks.add(node);
        }
        if waiting.iter().any(|&node| self.pass(node, word, byte)) {
            return None;
        }
        Some(self.others())
    }

    /// Mark what a node becomes at a byte; true if that is the end of the expression.
    fn pass(&mut self, node: u32, word: bool, byte: u8) -> bool {
        match &self.nodes[node as usize] {
            Node::One(bytes, next) if bytes.has(byte) => {
                let next = *next as u32;
                self.reach(next, Place::default())
            }
            Node::Edge(next) if word != is_word(byte) => {
                // what follows it must take the byte: it is looked at apart from what is behind the byte
                let mut stack = vec![*next];
                let mut seen = Vec::new();
                while let Some(node) = stack.pop() {
                    if seen.contains(&node) {
                        continue;
                    }
                    seen.push(node);
                    match &self.nodes[node] {
                        Node::Either(ways) => stack.extend(ways),
                        Node::Edge(next) => stack.push(*next),
                        Node::Found => return true,
                        Node::One(bytes, next) if bytes.has(byte) => {
                            let next = *next as u32;
                            if self.reach(next, Place::default()) {
                                return true;
                            }
                        }
                        _ => {}
                    }
                }
                false
            }
            _ => false,
        }
    }

    /// Mark a node and all that is reached from it without a byte; true if that is the end of the expression.
    fn reach(&mut self, node: u32, place: Place) -> bool {
        let mut stack = vec![node];
        while let Some(node) = stack.pop() {
            if !self.marks.add(node) {
                continue;
            }
            match &self.nodes[node as usize] {
                Node::Found => return true,
                Node::Either(ways) => stack.extend(ways.iter().map(|&way| way as u32)),
                Node::Start(next) if place.start => stack.push(*next as u32),
                Node::End(next) if place.end => stack.push(*next as u32),
                Node::Edge(next) if place.edge == Some(true) => stack.push(*next as u32),
                _ => {}
            }
        }
        false
    }

    /// The marked nodes that wait for something and are not in `begin`, in order.
    fn others(&self) -> Vec<u32> {
        let waits = |node: u32| matches!(self.nodes[node as usize], Node::One(..) | Node::End(_) | Node::Edge(_));
        let mut out: Vec<u32> = self.marks.list.iter().copied().filter(|&n| waits(n) && !self.begins[n as usize]).collect();
        out.sort_unstable();
        out
    }

    fn stride(&self) -> usize {
        self.sample.len() + 1
    }

    /// The row of a state in the table.
    fn state(&mut self, state: State) -> u32 {
        if let Some(&row) = self.index.get(&state) {
            return row;
        }
        let row = self.table.len() as u32;
        self.table.resize(self.table.len() + self.stride(), UNKNOWN);
        self.held += state.0.len();
        self.states.push(state.clone());
        self.index.insert(state, row);
        row
    }

    /// Forget all states but those the lanes are in.
    fn forget(&mut self, lanes: &mut [Lane]) {
        let kept: Vec<State> = lanes.iter().map(|lane| self.states[lane.state as usize / self.stride()].clone()).collect();
        self.held = 0;
        self.states.clear();
        self.index.clear();
        self.table.clear();
        self.first_row = None;
        for (lane, state) in lanes.iter_mut().zip(kept) {
            lane.state = self.state(state);
        }
    }
}

/// The class of each byte, and a byte of each class: those of one class are the same to every node.
fn classes(nodes: &[Node]) -> ([u8; 256], Vec<u8>) {
    let mut class = [0usize; 256];
    (0..=255u8).for_each(|b| class[b as usize] = is_word(b) as usize);
    let mut count = 2;
    let mut known = Vec::new();
    for node in nodes {
        let Node::One(bytes, _) = node else { continue };
        if known.contains(bytes) {
            continue;
        }
        known.push(*bytes);
        let mut split: HashMap<(usize, bool), usize> = HashMap::new();
        for byte in 0..=255u8 {
            let fresh = split.len();
            let of = (class[byte as usize], bytes.has(byte));
            class[byte as usize] = *split.entry(of).or_insert(fresh);
        }
        count = split.len();
    }
    let sample = (0..count).map(|c| class.iter().position(|&of| of == c).expect("a byte of each class") as u8).collect();
    (class.map(|c| c as u8), sample)
}
