//! What strace wrote, as calls that have completed, in the order in which they did.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};

/// A call that succeeded.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    pub arguments: Vec<String>,
    pub result: i64,
}

/// Reads a trace made with `-f -y -xx`. Failed calls have changed nothing and are
/// left out.
pub fn calls(trace: &str) -> Result<Vec<Call>> {
    let mut unfinished: HashMap<&str, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((pid, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(pid, begun.trim_end().to_owned());
            continue;
        }
        let whole = match rest.strip_prefix("<... ") {
            Some(resumed) => {
                let (_, end) = resumed
                    .split_once(" resumed>")
                    .with_context(|| format!("cannot read `{rest}`"))?;
                let begun = unfinished.remove(pid).context("nothing was begun")?;
                format!("{begun}{end}")
            }
            None => rest.to_owned(),
        };
        if let Some(call) = parse(&whole).with_context(|| shown(&whole))? {
            calls.push(call);
        }
    }
    Ok(calls)
}

fn shown(line: &str) -> String {
    format!("cannot read `{}`", line.get(..200).unwrap_or(line))
}

fn parse(line: &str) -> Result<Option<Call>> {
    let (name, rest) = line.split_once('(').context("no call")?;
    let (arguments, rest) = split(rest)?;
    let result = rest.trim_start().strip_prefix('=').context("no result")?;
    let result = result.trim_start();
    let end = result
        .find(|c: char| !c.is_ascii_digit() && c != '-')
        .unwrap_or(result.len());
    // `?`: it did not return.
    let Ok(result) = result[..end].parse::<i64>() else {
        return Ok(None);
    };
    if result < 0 {
        return Ok(None);
    }
    Ok(Some(Call {
        name: name.to_owned(),
        arguments,
        result,
    }))
}

/// Takes arguments apart, up to the bracket that ends them.
fn split(text: &str) -> Result<(Vec<String>, &str)> {
    let (mut arguments, mut depth, mut is_text) = (vec![String::new()], 0_u32, false);
    for (index, c) in text.char_indices() {
        let last = arguments.last_mut().expect("there is always one");
        match c {
            '"' => is_text = !is_text,
            _ if is_text => {}
            '(' | '[' | '{' | '<' => depth += 1,
            ')' if depth == 0 => {
                let arguments = arguments.iter().map(|text| text.trim().to_owned());
                return Ok((arguments.collect(), &text[index + 1..]));
            }
            // `0x1 << 3` and the like are not in what is traced.
            ')' | ']' | '}' | '>' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        last.push(c);
    }
    bail!("the arguments do not end")
}

impl Call {
    pub fn argument(&self, index: usize) -> Result<&str> {
        self.arguments
            .get(index)
            .map(String::as_str)
            .with_context(|| format!("{} has no argument {index}", self.name))
    }

    /// A number, decimal, octal or hexadecimal.
    pub fn number(&self, index: usize) -> Result<u64> {
        number(self.argument(index)?)
    }

    /// A string, as bytes.
    pub fn bytes(&self, index: usize) -> Result<Vec<u8>> {
        bytes(self.argument(index)?)
    }

    /// A descriptor.
    pub fn descriptor(&self, index: usize) -> Result<i32> {
        let text = self.argument(index)?;
        let text = text.split('<').next().unwrap_or(text);
        text.parse()
            .with_context(|| format!("`{text}` is no descriptor"))
    }

    pub fn has_flag(&self, index: usize, flag: &str) -> bool {
        self.argument(index).is_ok_and(|text| {
            text.split(['|', ',', '=', '{', '}', ' '])
                .any(|word| word == flag)
        })
    }
}

pub fn number(text: &str) -> Result<u64> {
    let parsed = if let Some(hex) = text.strip_prefix("0x") {
        u64::from_str_radix(hex, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        u64::from_str_radix(text, 8)
    } else {
        text.parse()
    };
    parsed.with_context(|| format!("`{text}` is no number"))
}

/// The value of a field of a structure.
pub fn field<'a>(text: &'a str, name: &str) -> Result<&'a str> {
    let start = text
        .find(&format!("{name}="))
        .with_context(|| format!("no {name} in `{text}`"))?
        + name.len()
        + 1;
    let rest = &text[start..];
    let end = rest.find([',', '}', ']']).unwrap_or(rest.len());
    // A comment for people may follow.
    Ok(rest[..end].split_whitespace().next().unwrap_or_default())
}

pub fn bytes(text: &str) -> Result<Vec<u8>> {
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .with_context(|| format!("`{}` is no whole string", text.get(..60).unwrap_or(text)))?;
    let mut bytes = Vec::with_capacity(inner.len() / 4);
    for part in inner.split("\\x").skip(1) {
        bytes.push(u8::from_str_radix(part, 16)?);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_come_in_the_order_in_which_they_completed() {
        let trace = "1 write(3</a>, \"\\x61\\x62\", 2 <unfinished ...>\n\
                     2 mkdir(\"\\x2f\\x61\", 0700) = 0\n\
                     1 <... write resumed>) = 2\n\
                     2 rmdir(\"\\x2f\") = -1 EBUSY (Device or resource busy)\n\
                     1 +++ exited with 0 +++\n";

        let calls = calls(trace).unwrap();

        let names: Vec<_> = calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(names, ["mkdir", "write"]);
        assert_eq!(calls[0].bytes(0).unwrap(), b"/a");
        assert_eq!(calls[0].number(1).unwrap(), 0o700);
        assert_eq!(calls[1].descriptor(0).unwrap(), 3);
        assert_eq!(calls[1].bytes(1).unwrap(), b"ab");
        assert_eq!(calls[1].result, 2);
    }

    #[test]
    fn structures_are_one_argument() {
        let trace = "7 openat2(5</a>, \"\\x62\", {flags=O_RDONLY|O_CREAT, mode=0600, resolve=0}, 24) = 6</a/b>\n";

        let calls = calls(trace).unwrap();

        assert_eq!(calls[0].arguments.len(), 4);
        assert!(calls[0].has_flag(2, "O_CREAT"));
        assert_eq!(
            number(field(&calls[0].arguments[2], "mode").unwrap()).unwrap(),
            0o600
        );
        assert_eq!(calls[0].result, 6);
    }

    #[test]
    fn cut_strings_are_refused() {
        assert!(bytes("\"\\x61\"...").is_err());
    }
}
