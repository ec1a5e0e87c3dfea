//! Reads the binary form of a session part by part, in the wire format of postcard. A call needs little of a session;
//! what it does not need is passed over, and only what is kept is copied.

/// What is still to be read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

/// A segment of a token.
pub(super) enum Segment<'a> {
    Bytes(&'a [u8]),
    Text(&'a [u8]),
}

impl<'a> Reader<'a> {
    pub(super) fn u64(&mut self) -> Option<u64> {
        // Ten bytes have 70 bits.
        self.varint(10, 0b1)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        str::from_utf8(self.bytes()?).ok()
    }

    pub(super) fn string(&mut self) -> Option<String> {
        self.text().map(str::to_owned)
    }

    pub(super) fn bool(&mut self) -> Option<bool> {
        match self.array()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    /// An option is a boolean, and the value if that is true.
    pub(super) fn option<T>(&mut self, value: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.bool()? { value(self).map(Some) } else { Some(None) }
    }

    pub(super) fn list<T>(&mut self, mut value: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length = self.length()?;
        (0..length).map(|_| value(self)).collect()
    }

    pub(super) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.u64()?).ok()
    }

    pub(super) fn segment(&mut self) -> Option<Segment<'a>> {
        // Five bytes have 35 bits.
        match self.varint(5, 0b1111)? {
            0 => self.bytes().map(Segment::Bytes),
            1 => self.bytes().map(Segment::Text),
            _ => None,
        }
    }

    /// The bytes of what is passed over.
    pub(super) fn skip(&mut self, over: impl FnOnce(&mut Self) -> Option<()>) -> Option<&'a [u8]> {
        let before = self.0;
        over(self)?;
        before.get(..before.len() - self.0.len())
    }

    pub(super) fn skip_text(&mut self) -> Option<()> {
        is_text(self.bytes()?).then_some(())
    }

    /// Passes over a token.
    pub(super) fn skip_segments(&mut self) -> Option<()> {
        self.skip_list(|reader| reader.segment().filter(Segment::is_valid).map(drop))
    }

    pub(super) fn skip_list(&mut self, mut over: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let length = self.length()?;
        (0..length).try_for_each(|_| over(self))
    }

    /// Seven bits a byte, the lowest first. The last of the `longest` has no other bits than `last`.
    fn varint(&mut self, longest: usize, last: u8) -> Option<u64> {
        let mut number = 0;
        for (position, byte) in self.0.iter().enumerate().take(longest) {
            number |= u64::from(byte & 0x7f) << (7 * position);
            if *byte < 0x80 {
                self.0 = self.0.get(position + 1..)?;
                return (position + 1 < longest || *byte <= last).then_some(number);
            }
        }
        None
    }
}

impl Segment<'_> {
    fn is_valid(&self) -> bool {
        match self {
            Self::Bytes(_) => true,
            Self::Text(text) => is_text(text),
        }
    }
}

/// Whether bytes are UTF-8. Most are ASCII, which takes less time to tell.
fn is_text(bytes: &[u8]) -> bool {
    bytes.is_ascii() || str::from_utf8(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop};

    use super::*;

    /// What a reader and postcard make of the same bytes, and what they leave.
    fn same<'a, T: PartialEq>(
        bytes: &'a [u8],
        read: impl FnOnce(&mut Reader<'a>) -> Option<T>,
        expected: Option<(T, &'a [u8])>,
    ) -> bool {
        let mut reader = Reader(bytes);
        let found = read(&mut reader);
        match (found, expected) {
            (Some(found), Some((expected, rest))) => found == expected && reader.0 == rest,
            (found, expected) => found.is_none() && expected.is_none(),
        }
    }

    fn numbers_are_those_of_postcard(bytes: &[u8]) -> bool {
        // The discriminant of an enumeration is a `u32`.
        let discriminant = postcard::take_from_bytes::<u32>(bytes).ok();
        let discriminant = discriminant.map(|(number, rest)| (u64::from(number), rest));
        same(bytes, Reader::u64, postcard::take_from_bytes(bytes).ok())
            && same(bytes, |reader| reader.varint(5, 0b1111), discriminant)
    }

    #[test]
    fn a_number_has_at_most_its_bits_however_long_it_is_written() {
        for bytes in [
            &[0x81, 0x80, 0x00][..],
            &[0x80, 0x80, 0x80, 0x80, 0x00],
            &[0x80, 0x80, 0x80, 0x80, 0x10],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
        ] {
            assert!(numbers_are_those_of_postcard(bytes), "{bytes:x?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn bytes_are_read_as_postcard_reads_them(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            proptest::prop_assert!(numbers_are_those_of_postcard(&bytes));
            let expected = postcard::take_from_bytes::<&str>(&bytes).ok();
            proptest::prop_assert!(same(&bytes, Reader::text, expected));
            let expected = postcard::take_from_bytes::<Option<bool>>(&bytes).ok();
            proptest::prop_assert!(same(&bytes, |reader| reader.option(Reader::bool), expected));
            let expected = postcard::take_from_bytes::<Vec<u64>>(&bytes).ok();
            proptest::prop_assert!(same(&bytes, |reader| reader.list(Reader::u64), expected));
        }
    }
}
