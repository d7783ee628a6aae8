//! The cursor of a list whose rows come, go and change places.

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cursor<K> {
    /// The row that it is on; `None`: the first, whichever that is.
    on: Option<K>,
    /// Where that row was last.
    at: usize,
}

impl<K> Default for Cursor<K> {
    fn default() -> Self {
        Self { on: None, at: 0 }
    }
}

/// By how much a cursor is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// So many rows down, or up.
    By(isize),
    /// To a row.
    To(usize),
    /// To the last.
    End,
}

impl<K: Copy + PartialEq> Cursor<K> {
    /// Which row it is on, of these. A row that is gone leaves it where it was.
    pub fn index(&self, rows: impl Iterator<Item = K>) -> usize {
        let Some(on) = self.on else { return 0 };
        let mut count = 0;
        for (at, row) in rows.enumerate() {
            if row == on {
                return at;
            }
            count += 1;
        }
        self.at.min(count.max(1) - 1)
    }

    /// Moves it, as far as there are rows.
    pub fn go(&mut self, rows: &[K], how: Move) {
        let last = rows.len().saturating_sub(1);
        let at = match how {
            Move::By(step) => self.index(rows.iter().copied()).saturating_add_signed(step),
            Move::To(at) => at,
            Move::End => last,
        };
        self.at = at.min(last);
        // On the first row it stays there, so that the largest is always in sight.
        self.on = if self.at == 0 { None } else { rows.get(self.at).copied() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_its_row_wherever_that_goes() {
        let mut cursor = Cursor::default();
        cursor.go(&['a', 'b', 'c'], Move::By(1));
        assert_eq!(cursor.index("abc".chars()), 1);
        assert_eq!(cursor.index("cab".chars()), 2);
    }

    #[test]
    fn on_the_first_row_it_stays_there() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.index("abc".chars()), 0);
        cursor.go(&['a', 'b'], Move::By(1));
        cursor.go(&['a', 'b'], Move::By(-1));
        assert_eq!(cursor.index("ba".chars()), 0);
    }

    #[test]
    fn a_row_that_is_gone_leaves_it_where_it_was() {
        let mut cursor = Cursor::default();
        cursor.go(&['a', 'b', 'c'], Move::End);
        assert_eq!(cursor.index("abd".chars()), 2);
        assert_eq!(cursor.index("a".chars()), 0);
        assert_eq!(cursor.index("".chars()), 0);
    }

    #[test]
    fn it_never_leaves_the_list() {
        let mut cursor = Cursor::default();
        cursor.go(&[], Move::By(5));
        assert_eq!(cursor.index([].into_iter()), 0);
        cursor.go(&[1, 2, 3], Move::By(100));
        assert_eq!(cursor.index([1, 2, 3].into_iter()), 2);
        cursor.go(&[1, 2, 3], Move::By(-100));
        assert_eq!(cursor.index([1, 2, 3].into_iter()), 0);
        cursor.go(&[1, 2, 3], Move::To(1));
        assert_eq!(cursor.index([1, 2, 3].into_iter()), 1);
    }
}
