//! Modes as `--chmod` takes them: octal, or symbolic as in chmod(1).

use std::str::FromStr;

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

/// `who` `operator` `what`: one step of a symbolic mode.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clause {
    /// The bits of the classes it is about: 0o4700, 0o2070, 0o1007 or a union.
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
    /// Permission letters.
    Bits {
        /// Read, write, execute, as one octal digit.
        digit: u32,
        /// `X`: execute, for directories and for what someone may execute already.
        conditional: bool,
        /// `s`.
        set_id: bool,
        /// `t`.
        sticky: bool,
    },
    /// The bits that another class has: how far to shift the mode to the right to get them.
    Class(u32),
}

impl ChmodSpec {
    /// The mode of a file or directory that has `mode` now: permission bits with setuid, setgid and sticky.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match &self.change {
            Change::Octal(mode) => *mode,
            Change::Symbolic(clauses) => clauses
                .iter()
                .fold(mode & 0o7777, |mode, clause| clause.apply(mode, is_dir)),
        }
    }

    /// The mode as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Clause {
    fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let (digit, special) = match self.what {
            What::Class(shift) => ((mode >> shift) & 0o7, 0),
            What::Bits {
                digit,
                conditional,
                set_id,
                sticky,
            } => {
                let runs = conditional && (is_dir || mode & 0o111 != 0);
                let special = if set_id { 0o6000 } else { 0 } | if sticky { 0o1000 } else { 0 };
                (digit | u32::from(runs), special)
            }
        };
        let bits = (digit * 0o111 | special) & self.mask;
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
            let mut clauses = Vec::new();
            for part in text.split(',') {
                parse_part(part, &mut clauses).ok_or_else(error)?;
            }
            Change::Symbolic(clauses)
        };
        Ok(Self {
            text: text.to_owned(),
            change,
        })
    }
}

/// One comma-separated part: classes, then one or more pairs of operator and permissions.
fn parse_part(part: &str, clauses: &mut Vec<Clause>) -> Option<()> {
    let operators = ['+', '-', '='];
    let start = part.find(operators)?;
    let mut mask = 0;
    for class in part[..start].chars() {
        mask |= match class {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    if start == 0 {
        mask = 0o7777;
    }
    let mut rest = &part[start..];
    while let Some(sign) = rest.chars().next() {
        let operator = match sign {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            _ => Operator::Set,
        };
        let end = rest[1..].find(operators).map_or(rest.len(), |at| at + 1);
        let what = parse_what(&rest[1..end])?;
        clauses.push(Clause {
            mask,
            operator,
            what,
        });
        rest = &rest[end..];
    }
    Some(())
}

fn parse_what(letters: &str) -> Option<What> {
    match letters {
        "u" => return Some(What::Class(6)),
        "g" => return Some(What::Class(3)),
        "o" => return Some(What::Class(0)),
        _ => {}
    }
    let (mut digit, mut conditional, mut set_id, mut sticky) = (0, false, false, false);
    for letter in letters.chars() {
        match letter {
            'r' => digit |= 4,
            'w' => digit |= 2,
            'x' => digit |= 1,
            'X' => conditional = true,
            's' => set_id = true,
            't' => sticky = true,
            _ => return None,
        }
    }
    Some(What::Bits {
        digit,
        conditional,
        set_id,
        sticky,
    })
}
