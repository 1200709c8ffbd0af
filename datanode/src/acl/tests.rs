//! Rules, what they allow, and how they are written.

use super::*;
use crate::command::{OwnedArgs, table};
use crate::rng::Rng;

fn user(rules: &str) -> User {
    let mut user = User::new(b"u", false);
    let rules = join_selectors(rules.split_ascii_whitespace().map(str::as_bytes)).unwrap();
    rules.iter().for_each(|rule| user.apply(rule, false).unwrap());
    user
}

fn refusal(rules: &str) -> RuleError {
    let mut user = User::new(b"u", false);
    let applied: Result<(), RuleError> =
        rules.split_ascii_whitespace().try_for_each(|rule| user.apply(rule.as_bytes(), false));
    applied.unwrap_err()
}

fn run(user: &User, line: &str) -> Result<(), Denied> {
    let command = OwnedArgs::collect(line.split(' '));
    user.may_run(table::find(command.as_args()).unwrap(), command.as_args())
}

fn shown(user: &User) -> String {
    String::from_utf8(user.rules().join(&b' ')).unwrap()
}

#[test]
fn a_new_user_may_do_nothing_but_log_in_and_out() {
    let nobody = user("");
    assert_eq!(shown(&nobody), "off resetchannels -@all");
    assert_eq!(run(&nobody, "GET k"), Err(Denied::Command));
    assert_eq!(run(&nobody, "PING"), Err(Denied::Command));
    for line in ["AUTH p", "HELLO", "QUIT", "RESET"] {
        assert_eq!(run(&nobody, line), Ok(()), "{line}");
    }
    assert!(!nobody.accepts(b""));
}

#[test]
fn only_who_may_do_everything_is_unchecked() {
    assert!(User::default_user().is_unrestricted());
    assert!(user("+@all ~* &*").is_unrestricted());
    assert!(user("(+@all ~* &*)").is_unrestricted());
    for rules in
        ["+@all ~*", "+@all &*", "~* &*", "+@all ~* &* -get", "+@all -get +get ~* &*", "(+@all ~*) &*"]
    {
        assert!(!user(rules).is_unrestricted(), "{rules}");
    }
    assert!(!user("+@all ~* &* reset").is_unrestricted());
    assert!(!user("(+@all ~* &*) clearselectors").is_unrestricted());
}

#[test]
fn commands_subcommands_and_first_arguments() {
    let u = user("+config -config|set +select|0 +SELECT|1 ~*");
    assert_eq!(run(&u, "CONFIG GET a"), Ok(()));
    assert_eq!(run(&u, "CONFIG SET a b"), Err(Denied::Command));
    assert_eq!(run(&u, "SELECT 0"), Ok(()));
    assert_eq!(run(&u, "SELECT 2"), Err(Denied::Command));
    assert_eq!(shown(&u), "off ~* resetchannels -@all +config -config|set +select|0 +select|1");
    let u = user("+@all -@dangerous +keys ~*");
    assert_eq!(run(&u, "KEYS *"), Ok(()));
    assert_eq!(run(&u, "FLUSHALL"), Err(Denied::Command));
    assert_eq!(run(&user("+select|0 -select"), "SELECT 0"), Err(Denied::Command));
    assert_eq!(run(&user("+@read +@list -@write ~*"), "LPUSH l a"), Err(Denied::Command));
}

#[test]
fn keys_by_how_they_are_used() {
    let u = user("+@all %R~r* %W~w* ~b*");
    for (line, result) in [
        ("GET r1", Ok(())),
        ("GET w1", Err(Denied::Key(1))),
        ("SET w1 x", Ok(())),
        ("SET w1 x GET", Err(Denied::Key(1))),
        ("SET b1 x GET", Ok(())),
        ("SET r1 x", Err(Denied::Key(1))),
        // Neither reads nor changes what the key holds: any permission will do.
        ("EXISTS r1 w1", Ok(())),
        ("EXISTS r1 x", Err(Denied::Key(2))),
        ("COPY r1 w1", Ok(())),
        ("COPY w1 r1", Err(Denied::Key(1))),
        ("ZUNIONSTORE w1 2 r1 r2", Ok(())),
        ("ZUNIONSTORE w1 2 r1 w2", Err(Denied::Key(4))),
        ("BITFIELD r1 GET u8 0", Ok(())),
        ("BITFIELD r1 SET u8 0 1", Err(Denied::Key(1))),
        ("SORT r1 STORE w1", Ok(())),
        ("SORT r1 STORE r2", Err(Denied::Key(3))),
        ("MSET w1 a w2 b", Ok(())),
        ("MSET w1 a r2 b", Err(Denied::Key(3))),
        ("PING", Ok(())),
    ] {
        assert_eq!(run(&u, line), result, "{line}");
    }
    assert_eq!(shown(&user("%R~a %W~a %rw~b")), "off ~a ~b resetchannels -@all");
}

#[test]
fn channels() {
    let u = user("+@all &news.* &x");
    for (line, result) in [
        ("PUBLISH news.1 m", Ok(())),
        ("PUBLISH y m", Err(Denied::Channel(1))),
        ("SPUBLISH x m", Ok(())),
        ("SUBSCRIBE x news.1", Ok(())),
        ("SUBSCRIBE x y", Err(Denied::Channel(2))),
        ("SSUBSCRIBE y", Err(Denied::Channel(1))),
        ("PSUBSCRIBE news.*", Ok(())),
        ("PSUBSCRIBE news.1*", Err(Denied::Channel(1))),
        ("UNSUBSCRIBE y", Ok(())),
    ] {
        assert_eq!(run(&u, line), result, "{line}");
    }
}

#[test]
fn one_selector_must_allow_all_of_it() {
    let u = user("+get ~a (+set ~b) (+mget ~a ~c)");
    assert_eq!(run(&u, "GET a"), Ok(()));
    assert_eq!(run(&u, "SET b 1"), Ok(()));
    assert_eq!(run(&u, "SET a 1"), Err(Denied::Key(1)));
    assert_eq!(run(&u, "MGET a c b"), Err(Denied::Key(3)));
    assert_eq!(run(&u, "DEL a"), Err(Denied::Command));
    let sorts = |rules: &str| {
        let command = OwnedArgs::collect("SORT l BY w_*".split(' '));
        user(rules).may_read_all(table::find(command.as_args()).unwrap(), command.as_args())
    };
    assert!(sorts("+@all allkeys") && sorts("+sort %R~*") && sorts("(+sort ~*)"));
    assert!(!sorts("+sort ~l") && !sorts("+sort ~l (allkeys)") && !sorts("+sort ~l %W~*"));
}

#[test]
fn wrong_rules() {
    for (rules, error) in [
        ("+nosuch", RuleError::Unknown),
        ("-config|nosuch", RuleError::Unknown),
        ("-select|0", RuleError::Unknown),
        ("+@nosuch", RuleError::Unknown),
        ("+", RuleError::Unknown),
        ("+config|get|x", RuleError::FirstArgument),
        ("+select|", RuleError::Syntax),
        ("%~x", RuleError::Syntax),
        ("%RR~x", RuleError::Syntax),
        ("nosuch", RuleError::Syntax),
        ("allkeys ~x", RuleError::KeysAfterAll),
        ("&* &x", RuleError::ChannelsAfterAll),
        ("<x", RuleError::NoSuchPassword),
        ("#abc", RuleError::BadHash),
        ("(allkeys", RuleError::Syntax),
    ] {
        assert_eq!(refusal(rules), error, "{rules}");
    }
    let open: Vec<&[u8]> = vec![b"on", b"(+get", b"~x"];
    assert_eq!(join_selectors(open.into_iter()).unwrap_err(), b"(+get");
}

#[test]
fn passwords() {
    let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let u = user(&format!("on >abc #{digits} >x"));
    assert_eq!(u.passwords().next().unwrap(), digits);
    assert_eq!(u.passwords().len(), 2);
    assert!(u.accepts(b"abc") && u.accepts(b"x") && !u.accepts(b"ab") && !u.accepts(b""));
    assert!(!user("on >abc <abc").accepts(b"abc"));
    assert!(!user(&format!("on >abc !{digits}")).accepts(b"abc"));
    assert!(user("on >abc nopass").accepts(b"anything"));
    assert!(!user("on nopass resetpass").accepts(b""));
    assert!(!user("off >abc").accepts(b"abc"));
}

/// Whatever rules a user was made by: the ones that are shown make the same user again, in a file and in redis.conf.
#[test]
fn shown_rules_make_the_same_user() {
    let mut rng = Rng::new(4);
    let mut names: Vec<&str> = commands::all().map(|known| known.spec.name).collect();
    names.push("select|0");
    for _ in 0..300 {
        let mut made = User::new(b"u", false);
        for _ in 0..rng.below(12) {
            let category = crate::command::facts::CATEGORIES[rng.below(21) as usize];
            let command = names[rng.below(names.len() as u64) as usize];
            let rule = match rng.below(14) {
                0 => "on".into(),
                1 => "nopass".into(),
                2 => ">secret".into(),
                3 => "%R~a\"b".into(),
                4 => "~\u{e9}'*".into(),
                5 => "&c*".into(),
                6 => "+@all".into(),
                7 => format!("(+{command} ~x &y -{category})"),
                8 => "resetkeys".into(),
                9 => format!("+{category}"),
                10 => format!("-{category}"),
                11 => format!("-{command}"),
                _ => format!("+{command}"),
            };
            // Some of these are refused, which changes nothing.
            let _ = made.apply(rule.as_bytes(), false);
        }
        let mut again = User::new(b"u", false);
        made.rules().iter().for_each(|rule| again.apply(rule, false).unwrap());
        assert_eq!(again.rules(), made.rules());
        for (one, other) in again.selectors().iter().zip(made.selectors()) {
            for known in commands::all() {
                assert_eq!(one.commands.has(known.spec), other.commands.has(known.spec), "{}", shown(&made));
            }
        }
        let in_file = file::parse(&made.line(), "users", false).unwrap();
        assert_eq!(in_file[0].rules(), made.rules());
        let words = crate::resp::parse::split_words(made.config_line().as_bytes()).unwrap();
        file::check_line(&words[1..], &[]).unwrap();
        let configured = file::configured(&[words[1..].to_vec()], false).unwrap();
        assert_eq!(configured[0].rules(), made.rules(), "{}", made.config_line());
    }
}

#[test]
fn a_file_is_taken_as_a_whole_or_not_at_all() {
    let users = file::parse(b"user a on ~x +get\n\n\t user default off \r\n", "f", false).unwrap();
    assert_eq!(users.iter().map(|u| u.name.as_slice()).collect::<Vec<_>>(), [&b"a"[..], b"default"]);
    let wrong =
        b"user a on nosuch >x +nosuch <y\nuser a\nusr\nUSER b\n# c\nuser\nuser b (+get\nuser c\x0b on";
    let errors = file::parse(wrong, "f", false).unwrap_err();
    for error in [
        "f:1: Syntax error. f:1: Error in applying operation '+nosuch': Unknown command or category name in ACL. WARNING",
        "WARNING: Duplicate user 'a' found on line 2. ",
        "f:3 should start with user keyword followed by the username. f:4 should",
        "f:5 should",
        "f:6 should",
        "f:7: Unmatched parenthesis in selector definition.",
        "'f:8: username 'c\u{b}' contains invalid characters. ",
    ] {
        assert!(errors.contains(error), "{error} in {errors}");
    }
    assert!(errors.ends_with("no change to the previously active ACL rules was performed"));
}

#[test]
fn the_log_counts_what_happens_again() {
    let entry = |object: &str, at_ms| Entry {
        count: 1,
        reason: Reason::Key,
        context: Context::TopLevel,
        object: object.into(),
        username: b"u".to_vec(),
        at_ms,
        client: format!("at {at_ms}"),
    };
    let mut log = AclLog::default();
    log.add(entry("a", 0), 3);
    log.add(entry("b", 1), 3);
    log.add(entry("a", 60_000), 3);
    let seen = |log: &AclLog| -> Vec<(String, u64)> {
        log.entries().map(|e| (String::from_utf8_lossy(&e.object).into_owned(), e.count)).collect()
    };
    assert_eq!(seen(&log), [("a".into(), 2), ("b".into(), 1)]);
    assert_eq!(log.entries().next().unwrap().client, "at 60000");
    // Too late to be the same again.
    log.add(entry("b", 60_002), 3);
    log.add(entry(&"k".repeat(100_000), 60_002), 3);
    assert_eq!(log.entries().len(), 3);
    assert_eq!(seen(&log)[1..], [("b".into(), 1), ("a".into(), 2)]);
    assert!(log.entries().next().unwrap().object.len() < 10_000);
    log.add(entry("c", 60_003), 0);
    assert_eq!(log.entries().len(), 0);
}
