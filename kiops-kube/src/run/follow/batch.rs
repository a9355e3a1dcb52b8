//! The lines of a log on their way to those who read it. Pure.

use jiff::Timestamp;
use kiops_core::log::{Masker, NewLine};
use kiops_core::stage::Stage;

use super::super::number::Numbers;

/// Texts that are masked together: one search for all of them costs a fraction of one for each.
pub(super) struct Batch<'a> {
    masker: &'a Masker,
    pub(super) numbers: &'a mut Numbers,
    text: Vec<u8>,
    /// When and in which stage each was written.
    of: Vec<(Timestamp, Stage)>,
    lines: Vec<NewLine>,
}

impl<'a> Batch<'a> {
    pub(super) const fn new(masker: &'a Masker, numbers: &'a mut Numbers) -> Self {
        Self { masker, numbers, text: Vec::new(), of: Vec::new(), lines: Vec::new() }
    }

    pub(super) fn push(&mut self, at: Timestamp, stage: Stage, text: &str) {
        // Of one that has several lines, or begins its line again, nobody knows how many come out.
        let alone = text.contains(['\n', '\r']);
        if alone {
            self.mask();
        }
        self.text.extend_from_slice(text.as_bytes());
        // Also a line of nothing is a line.
        self.text.push(b'\n');
        self.of.push((at, stage));
        if alone {
            self.mask();
        }
    }

    fn mask(&mut self) {
        let Some(&last) = self.of.last() else { return };
        let mut of = self.of.drain(..);
        self.masker.stream().push_with(&self.text, |text| {
            let (at, stage) = of.next().unwrap_or(last);
            self.lines.push(NewLine { n: self.numbers.next(at), at, stage, text: text.to_owned() });
        });
        drop(of);
        self.text.clear();
    }

    pub(super) fn take(&mut self) -> Vec<NewLine> {
        self.mask();
        std::mem::take(&mut self.lines)
    }
}

#[cfg(test)]
mod tests {
    use kiops_core::secret::Secret;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_that_are_masked_together_give_what_each_gives_alone(
            texts in proptest::collection::vec("[ab\\r\\n\u{1b}\\[2K:/@é]{0,12}|hunter22|x{70000}|ahunter22\r\n", 0..12),
        ) {
            let masker = Masker::new(&[Secret::new("hunter22").unwrap()]).unwrap();
            let at = |n: usize| Timestamp::from_second(1_800_000_000 + n as i64).unwrap();
            let mut numbers = Numbers::new(at(0));
            let mut batch = Batch::new(&masker, &mut numbers);
            for (n, text) in texts.iter().enumerate() {
                batch.push(at(n), Stage::Build, text);
            }
            let together: Vec<_> = batch.take().into_iter().map(|line| (line.at, line.text)).collect();
            let alone: Vec<_> = texts
                .iter()
                .enumerate()
                .flat_map(|(n, text)| {
                    let mut stream = masker.stream();
                    let lines = stream.push(format!("{text}\n").as_bytes());
                    lines.into_iter().map(move |line| (at(n), line))
                })
                .collect();
            prop_assert_eq!(together, alone);
        }
    }
}
