//! Glob patterns as KEYS, PSUBSCRIBE, SCAN MATCH and CONFIG GET know them: `*`, `?`, `[a-c]`, `[^x]`, `\` quotes.

/// Whether the whole of `text` matches `pattern`; `nocase` ignores the case of ASCII letters.
pub fn glob_match(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if text.is_empty() {
        // Redis has it so: `**` does not match nothing, and the lone `*` of KEYS is not even compared.
        return matches!(pattern, b"" | b"*");
    }
    let (mut p, mut t) = (0, 0);
    // Where to go on when a match fails: behind the last `*`, which then swallows one byte more. Only the last one
    // needs to be tried again, so the time is bounded by the product of the lengths.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            if p == pattern.len() {
                return true;
            }
            retry = Some((p, t));
            continue;
        }
        match one(&pattern[p..], text[t], nocase) {
            Some(used) => {
                p += used;
                t += 1;
            }
            None => {
                let Some((after_star, from)) = retry else { return false };
                retry = Some((after_star, from + 1));
                p = after_star;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

/// Matches one byte with the front of a pattern that is not `*`; the pattern bytes used up, if it matches.
fn one(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    let fold = |b: u8| if nocase { b.to_ascii_lowercase() } else { b };
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => class(&pattern[1..], byte, fold).map(|used| used + 1),
        b'\\' if pattern.len() >= 2 => (fold(pattern[1]) == fold(byte)).then_some(2),
        b => (fold(b) == fold(byte)).then_some(1),
    }
}

/// Matches a byte with a class, from behind its `[`. An unclosed class ends with the pattern.
fn class(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> Option<usize> {
    let byte = fold(byte);
    let negated = pattern.first() == Some(&b'^');
    let mut i = usize::from(negated);
    let mut found = false;
    while i < pattern.len() && pattern[i] != b']' {
        if pattern[i] == b'\\' && i + 1 < pattern.len() {
            i += 1;
            found |= fold(pattern[i]) == byte;
        } else if pattern.get(i + 1) == Some(&b'-') && i + 2 < pattern.len() {
            let (a, b) = (pattern[i], pattern[i + 2]);
            found |= (fold(a.min(b))..=fold(a.max(b))).contains(&byte);
            i += 2;
        } else {
            found |= fold(pattern[i]) == byte;
        }
        i += 1;
    }
    let used = (i + 1).min(pattern.len());
    (found != negated).then_some(used)
}

#[cfg(test)]
mod tests {
    use super::glob_match;

    #[test]
    fn patterns() {
        let yes = [
            ("", ""),
            ("*", ""),
            ("**", "x"),
            ("a*c", "abbbc"),
            ("*a*b*c", "xxaxbbxc"),
            ("h?llo", "hello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[b-a]llo", "hallo"),
            ("[a-]", "a"),
            ("[^]", "x"),
            ("\\*", "*"),
            ("a\\", "a\\"),
            ("[\\]]", "]"),
            ("[abc", "b"),
            ("*.[ch]", "a.b.c"),
        ];
        for (pattern, text) in yes {
            assert!(glob_match(pattern.as_bytes(), text.as_bytes(), false), "{pattern} {text}");
        }
        let no = [
            ("", "a"),
            ("a", ""),
            ("?", ""),
            ("a*c", "abb"),
            ("h[^e]llo", "hello"),
            ("[]", "]"),
            ("\\*", "x"),
            ("ABC", "abc"),
            ("[b-c]", "a"),
            ("*aab", "aaba"),
        ];
        for (pattern, text) in no {
            assert!(!glob_match(pattern.as_bytes(), text.as_bytes(), false), "{pattern} {text}");
        }
    }

    #[test]
    fn case() {
        for pattern in ["ABC", "a[B]c", "[A-C][a-c]?", "*C", "\\Abc"] {
            assert!(glob_match(pattern.as_bytes(), b"aBc", true), "{pattern}");
        }
        assert!(!glob_match(b"[A-C]bc", b"dbc", true));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = b"a*".repeat(1000);
        let text = b"a".repeat(100_000);
        assert!(!glob_match(&[&pattern[..], b"b"].concat(), &text, false));
    }
}
