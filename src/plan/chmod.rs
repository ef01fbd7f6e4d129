//! Modes as `--chmod` takes them: octal, or symbolic as in chmod(1) of the BSDs with an umask of zero.

use std::str::FromStr;

/// Setuid, setgid and the nine permission bits: what `a` stands for.
const ALL: u32 = 0o6777;

/// The sticky bit.
const STICKY: u32 = 0o1000;

/// Others, who can have neither a set-id nor the sticky bit.
const OTHERS: u32 = 0o0007;

/// Any execute bit.
const EXECUTE: u32 = 0o111;

/// A mode to set: octal, or changes to the mode that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChmodSpec {
    text: String,
    change: Change,
}

/// A text is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not a mode: expected octal digits up to 7777, or symbolic changes such as u=rwX,go=rX", .0.escape_debug())]
pub struct ChmodError(String);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Octal(u32),
    Symbolic(Vec<Clause>),
}

/// One step of a symbolic mode.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clause {
    /// The bits that the step may touch.
    mask: u32,
    operator: Operator,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// These bits, in all classes.
    Bits(u32),
    /// `X`: execute, for directories and for what someone could execute before the first step.
    Search,
    /// The permissions of another class: how far to shift the mode to the right to get them.
    Class(u32),
}

impl ChmodSpec {
    /// The mode of a file or directory that has `mode` now: permission bits with setuid, setgid and sticky.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let before = mode & 0o7777;
        match &self.change {
            Change::Octal(mode) => *mode,
            Change::Symbolic(steps) => {
                let is_searchable = is_dir || before & EXECUTE != 0;
                steps
                    .iter()
                    .fold(before, |mode, clause| clause.apply(mode, is_searchable))
            }
        }
    }

    /// The mode as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Clause {
    fn apply(&self, mode: u32, is_searchable: bool) -> u32 {
        let bits = match self.what {
            What::Bits(bits) => bits,
            What::Search if is_searchable => EXECUTE,
            What::Search => 0,
            What::Class(shift) => ((mode >> shift) & 0o7) * 0o111,
        } & self.mask;
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => (mode & !self.mask) | bits,
        }
    }
}

impl FromStr for ChmodSpec {
    type Err = ChmodError;

    fn from_str(text: &str) -> Result<Self, ChmodError> {
        let error = || ChmodError(text.chars().take(100).collect());
        let change = if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).map_err(|_| error())?;
            if mode > 0o7777 {
                return Err(error());
            }
            Change::Octal(mode)
        } else {
            let mut steps = Vec::new();
            for part in text.split(',') {
                parse_part(part, &mut steps).ok_or_else(error)?;
            }
            Change::Symbolic(steps)
        };
        Ok(Self {
            text: text.to_owned(),
            change,
        })
    }
}

/// Reads one comma-separated part: classes, then one or more pairs of an operator and permissions.
fn parse_part(part: &str, steps: &mut Vec<Clause>) -> Option<()> {
    let operators = ['+', '-', '='];
    let start = part.find(operators)?;
    let mut classes = 0;
    for class in part[..start].chars() {
        classes |= match class {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => OTHERS,
            'a' => ALL,
            _ => return None,
        };
    }
    let mut rest = &part[start..];
    while let Some(sign) = rest.chars().next() {
        let operator = match sign {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            _ => Operator::Set,
        };
        let end = rest[1..].find(operators).map_or(rest.len(), |at| at + 1);
        parse_permissions(&rest[1..end], classes, operator, steps)?;
        rest = &rest[end..];
    }
    Some(())
}

/// The letters behind an operator.
fn parse_permissions(
    letters: &str,
    classes: u32,
    operator: Operator,
    steps: &mut Vec<Clause>,
) -> Option<()> {
    let mut permissions = Permissions {
        classes,
        operator,
        bits: 0,
        has_search: false,
        has_sticky: false,
        is_set: false,
    };
    for letter in letters.chars() {
        match letter {
            'r' => permissions.bits |= 0o444,
            'w' => permissions.bits |= 0o222,
            'x' => permissions.bits |= EXECUTE,
            'X' if operator == Operator::Remove => permissions.bits |= EXECUTE,
            'X' => permissions.has_search = true,
            // For others only, these two mean nothing.
            's' | 't' if classes == OTHERS => {}
            's' => permissions.bits |= 0o6000,
            't' => {
                permissions.bits |= STICKY;
                permissions.has_sticky = true;
            }
            'u' => permissions.copy_class(6, steps),
            'g' => permissions.copy_class(3, steps),
            'o' => permissions.copy_class(0, steps),
            _ => return None,
        }
    }
    if operator == Operator::Set && !permissions.is_set {
        // A lone `=` clears.
        permissions.push(operator, What::Bits(permissions.bits), steps);
        permissions.bits = 0;
    }
    permissions.flush(steps);
    Some(())
}

/// The letters behind an operator, as far as they were read.
struct Permissions {
    classes: u32,
    operator: Operator,
    bits: u32,
    has_search: bool,
    has_sticky: bool,
    /// Whether an `=` has cleared and set something already.
    is_set: bool,
}

impl Permissions {
    /// Copies the permissions of a class, after what was read before it.
    fn copy_class(&mut self, shift: u32, steps: &mut Vec<Clause>) {
        self.flush(steps);
        self.is_set = true;
        steps.push(Clause {
            mask: self.mask() & 0o777,
            operator: self.operator,
            what: What::Class(shift),
        });
    }

    fn flush(&mut self, steps: &mut Vec<Clause>) {
        let bits = std::mem::take(&mut self.bits);
        if bits != 0 {
            self.push(self.operator, What::Bits(bits), steps);
            self.is_set = true;
        }
        if std::mem::take(&mut self.has_search) {
            self.push(Operator::Add, What::Search, steps);
        }
    }

    fn push(&self, operator: Operator, what: What, steps: &mut Vec<Clause>) {
        steps.push(Clause {
            mask: self.mask(),
            operator,
            what,
        });
    }

    /// The bits of the classes that were given, or of all.
    ///
    /// A sticky bit without a class hides the letters beside it: so does the implementation that BuildKit uses.
    fn mask(&self) -> u32 {
        match (self.classes, self.has_sticky) {
            (0, false) => ALL,
            (0, true) => STICKY,
            (classes, false) => classes,
            (classes, true) => classes | STICKY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_apply() {
        for (spec, file, dir) in [
            ("755", 0o755, 0o755),
            ("0644", 0o644, 0o644),
            ("7777", 0o7777, 0o7777),
            ("0", 0, 0),
            ("u=rwX,go=rX", 0o644, 0o755),
            ("a+x", 0o751, 0o751),
            ("+x", 0o751, 0o751),
            ("+X", 0o640, 0o751),
            ("g=u", 0o660, 0o660),
            ("go=", 0o600, 0o600),
            ("go=u-w", 0o644, 0o644),
            ("o=g,g-r", 0o604, 0o604),
            ("u+s,g+s", 0o6640, 0o6640),
            ("o+s", 0o640, 0o640),
            ("+t", 0o1640, 0o1640),
            ("+rwxt", 0o1640, 0o1640),
            ("a+rwxt", 0o1777, 0o1777),
            ("=r", 0o444, 0o444),
            ("u-w+x", 0o540, 0o540),
            ("a-X", 0o640, 0o640),
            ("ug+w", 0o660, 0o660),
            ("g=ru", 0o660, 0o660),
            ("o=ur", 0o644, 0o644),
            ("=tu", 0o1640, 0o1640),
            ("+", 0o640, 0o640),
        ] {
            let parsed: ChmodSpec = spec.parse().unwrap();
            assert_eq!(parsed.apply(0o640, false), file, "{spec} of a file");
            assert_eq!(parsed.apply(0o640, true), dir, "{spec} of a directory");
            assert_eq!(parsed.as_str(), spec);
        }
    }

    #[test]
    fn search_looks_at_the_mode_before_all_changes() {
        let spec: ChmodSpec = "a-x,+X".parse().unwrap();
        assert_eq!(spec.apply(0o750, false), 0o751);
        assert_eq!(spec.apply(0o640, false), 0o640);
    }

    #[test]
    fn set_clears_set_id_bits_and_the_sticky_bit_stays() {
        let spec: ChmodSpec = "a=rx".parse().unwrap();
        assert_eq!(spec.apply(0o7777, false), 0o1555);
        let spec: ChmodSpec = "u=rx".parse().unwrap();
        assert_eq!(spec.apply(0o7777, false), 0o3577);
    }

    #[test]
    fn others_are_no_modes() {
        for bad in [
            "",
            "8",
            "789",
            "10000",
            "0o755",
            "755x",
            "rwx",
            "u",
            "u=rwz",
            "u=rw,",
            ",u=r",
            "u =r",
            "z+x",
            "77777777777777777777",
            "\u{e9}=r",
            "u=\u{e9}",
        ] {
            assert!(bad.parse::<ChmodSpec>().is_err(), "{bad} parsed");
        }
    }
}
