use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;

fn masker(secrets: &[&str]) -> Masker {
    let secrets: Vec<Secret> = secrets.iter().map(|s| Secret::new(*s).unwrap()).collect();
    Masker::new(&secrets).unwrap()
}

/// Feeds a text in chunks of the sizes given, over and over.
fn run(masker: &Masker, text: &[u8], sizes: &[usize]) -> Vec<String> {
    let mut stream = masker.stream();
    let mut lines = Vec::new();
    let mut rest = text;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, tail) = rest.split_at((*size).clamp(1, rest.len()));
        lines.extend(stream.push(chunk));
        rest = tail;
    }
    lines.extend(stream.finish());
    lines
}

fn lines(secrets: &[&str], text: &str) -> Vec<String> {
    let masker = masker(secrets);
    let whole = run(&masker, text.as_bytes(), &[usize::MAX]);
    assert_eq!(run(&masker, text.as_bytes(), &[1]), whole, "byte by byte");
    whole
}

#[test]
fn a_secret_is_masked_in_plain_text_and_neighbours_stay() {
    assert_eq!(lines(&["hunter2"], "a hunter2 b\nhunter2hunter2\nhunter\n"), ["a *** b", "***", "hunter"]);
    assert_eq!(lines(&["größe!"], "eine größe! hier\n"), ["eine *** hier"]);
    assert_eq!(lines(&["ab"], "cab\n"), ["c***"]);
}

#[test]
fn a_secret_is_masked_in_every_derived_form() {
    let secret = "p&ss w/rd\"+ä";
    let json = serde_json::to_string(secret).unwrap();
    for form in [
        STANDARD.encode(secret),
        URL_SAFE.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).to_string(),
        "p%26ss%20w%2frd%22%2b%c3%a4".to_owned(),
        "p%26ss+w%2Frd%22%2B%C3%A4".to_owned(),
        json[1..json.len() - 1].to_owned(),
        r#"p\u0026ss w/rd\"+ä"#.to_owned(),
        secret.bytes().map(|b| format!("{b:02x}")).collect(),
        secret.bytes().map(|b| format!("{b:02X}")).collect(),
    ] {
        assert_eq!(lines(&[secret], &format!("<{form}>\n")), ["<***>"], "{form}");
    }
}

#[test]
fn overlapping_secrets_leave_no_rest() {
    assert_eq!(lines(&["abcdef", "defxyz"], "-abcdefxyz-\n"), ["-***-"]);
    assert_eq!(lines(&["hunter", "hunter2-long"], "hunter2-long hunter2\n"), ["*** ***2"]);
    let periodic = "a".repeat(600);
    assert_eq!(lines(&[&periodic], &format!("x{}\n", "a".repeat(3000))), ["x***"]);
}

#[test]
fn a_secret_of_several_lines_is_masked_line_by_line_and_as_a_whole() {
    let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\r\nshort\n  aGVsbG8gd29ybGQ\n-----END KEY-----\n";
    let out = lines(&[key], key);
    assert_eq!(out, ["***", "***", "short", "  ***", "***"]);
    let json = serde_json::to_string(key).unwrap();
    assert_eq!(lines(&[key], &json), ["\"***\\n\""]);
    let wrapped: String = STANDARD.encode(key).as_bytes().chunks(76).fold(String::new(), |mut all, line| {
        all.push_str(std::str::from_utf8(line).unwrap());
        all.push('\n');
        all
    });
    assert_eq!(lines(&[key], &wrapped), ["***", "***o="]);
}

#[test]
fn white_space_around_a_secret_does_not_count() {
    assert_eq!(lines(&["hunter2\n"], "echo hunter2\n"), ["echo ***"]);
    assert_eq!(lines(&["hunter2\n"], &format!("{}\n", STANDARD.encode("hunter2\n"))), ["***o="]);
}

#[test]
fn user_information_in_urls_is_masked_even_when_unknown() {
    for (text, expected) in [
        ("clone https://user:pass@host/a.git ok", "clone https://***@host/a.git ok"),
        ("https://token@host", "https://***@host"),
        ("http://user@evil@good/", "http://***@good/"),
        ("postgres://u:p%40@db:5432/x?y=z@w", "postgres://***@db:5432/x?y=z@w"),
        ("\"https:\\/\\/u:p@h\\/x\"", "\"https:\\/\\/***@h\\/x\""),
        ("https://u:pa/ss@host/x", "https://***@host/x"),
        ("https://h:8080/@types/node", "https://h:8080/@types/node"),
        ("https://registry.npmjs.org/@types/node a@b", "https://registry.npmjs.org/@types/node a@b"),
        ("https://[::1]:80/a@b", "https://[::1]:80/a@b"),
        ("https://a.io,https://u:p@b.io", "https://a.io,https://***@b.io"),
        ("see https:// and mail a@b.c", "see https:// and mail a@b.c"),
        ("https://@h", "https://@h"),
    ] {
        assert_eq!(lines(&[], &format!("{text}\n")), [expected], "{text}");
    }
}

#[test]
fn removing_escapes_neither_puts_a_secret_together_nor_shows_its_rest() {
    for text in
        ["hun\x1b[0mter2", "hun\0ter2", "h\x1b]0;t\x07unter2", "hun\u{9b}1mter2", "\x1b[31mhunter2\x1b[0m"]
    {
        assert_eq!(lines(&["hunter2"], &format!("{text}\n")), ["***"], "{text:?}");
    }
    // The first letter is read as the end of a sequence; the others must not show for that.
    assert_eq!(lines(&["hunter2"], "\x1b[hunter2 \x1bhunter2\n"), ["*** ***"]);
    // Here the shorter secret is found first; the longer one must still go.
    assert_eq!(lines(&["hunt", "hunter2"], "hunt\x1b[0mer2\n"), ["***"]);
}

#[test]
fn lines_end_at_newlines_and_progress_collapses_to_its_last_state() {
    assert_eq!(lines(&[], "a\r\nb\n\n\r\nc"), ["a", "b", "", "", "c"]);
    assert_eq!(lines(&[], " 10%\r 50%\r100%\r\nnext\n"), ["100%", "next"]);
    assert_eq!(lines(&[], "Building a, b\r\x1b[K   Done\n"), ["   Done"]);
    assert_eq!(lines(&[], "Counting: 100, x\rDone\x1b[K\n"), ["Done"]);
    assert_eq!(lines(&[], "a longer line\rshort\n"), ["a longer line", "short"]);
    assert_eq!(lines(&[], "a longer line\rshort"), ["a longer line", "short"]);
    assert_eq!(lines(&[], "a\r\r\nb\r"), ["a", "b"]);
    assert_eq!(lines(&[], ""), [""; 0]);
    assert_eq!(lines(&[], "x\n\x1b[0m"), ["x"]);
    assert_eq!(lines(&["hunter2"], "is hunter2\rno\n"), ["is ***", "no"]);
}

#[test]
fn invalid_utf8_is_replaced_and_valid_stays() {
    let masker = masker(&["hunter2"]);
    assert_eq!(run(&masker, b"a\xffb hunter2\xc3\n", &[3]), ["a\u{fffd}b ***\u{fffd}"]);
    assert_eq!(run(&masker, "größe 日本\n".as_bytes(), &[1]), ["größe 日本"]);
    let binary = Secret::new(vec![0xff, 0xfe, b'k', b'e', b'y']).unwrap();
    let binary = Masker::new([&binary]).unwrap();
    assert_eq!(run(&binary, b"-\xff\xfekey-\n", &[2]), ["-***-"]);
}

#[test]
fn a_long_line_is_cut_in_bounded_memory() {
    let masker = masker(&["hunter2"]);
    let mut stream = masker.stream();
    let mut out = Vec::new();
    for _ in 0..10 * 1024 {
        out.extend(stream.push(&[b'x'; 1024]));
    }
    assert!(format!("{stream:?}").contains(&format!("held: {}", masker.raw_max())));
    out.extend(stream.push(b"\nnext\n"));
    assert_eq!(out.len(), 2);
    assert_eq!(out[0].len(), LINE_MAX);
    assert!(out[0].ends_with("x... [cut]"));
    assert_eq!(out[1], "next");

    let mut whole = vec![b'x'; 10 * 1024 * 1024];
    whole.push(b'\n');
    assert_eq!(masker.stream().push(&whole), out[..1]);
    let umlauts = "ä".repeat(LINE_MAX);
    let cut = lines(&[], &umlauts);
    assert!(cut[0].len() <= LINE_MAX && cut[0].ends_with("ä... [cut]"));
    assert_eq!(lines(&[], &"x".repeat(LINE_MAX))[0].len(), LINE_MAX);
    assert!(!lines(&[], &"x".repeat(LINE_MAX))[0].contains("cut"));
}

#[test]
fn a_secret_at_the_cut_leaks_no_part() {
    let secret = "correct-horse-battery";
    let masker = masker(&[secret]);
    for edge in [LINE_MAX, masker.raw_max()] {
        for at in (edge - 40..edge + 20).step_by(3) {
            // Masked text is short, so that what is near the end of the buffer would show.
            for filler in [
                "x".repeat(at),
                format!("{}{}", secret.repeat(at / secret.len()), "x".repeat(at % secret.len())),
            ] {
                let text = format!("{filler}{secret}{}", "y".repeat(40_000));
                for line in run(&masker, text.as_bytes(), &[usize::MAX]) {
                    assert!(!line.contains("corr"), "{at}: {}", &line[line.len() - 60..]);
                }
            }
        }
    }
    let noisy: String =
        format!("{secret}-").repeat(4000).chars().flat_map(|c| ['\x1b', '[', 'm', c]).collect();
    for line in run(&masker, noisy.as_bytes(), &[1000]) {
        assert!(!line.contains("corr"), "{line}");
    }
}

#[test]
fn user_information_at_the_cut_leaks_no_part() {
    let masker = masker(&[]);
    for at in masker.raw_max() - 30..masker.raw_max() {
        // Controls fill the raw buffer without filling the line.
        let text = format!("{}https://user:passwordpassword@host\n", "\0".repeat(at - 8));
        let out = run(&masker, text.as_bytes(), &[usize::MAX]);
        assert!(!out[0].contains("user"), "{}", out[0]);
    }
}

#[test]
fn error_texts_are_masked_at_once() {
    let masker = masker(&["hunter2"]);
    assert_eq!(
        masker.mask_text("fatal: https://u:p@h/ failed\n  with hunter2\x1b[0m"),
        "fatal: https://***@h/ failed\n  with ***"
    );
    assert_eq!(masker.mask_text(""), "");
    assert_eq!(masker.mask_text("one\n"), "one");
}

#[test]
fn a_masker_prints_no_secret_and_refuses_too_many() {
    let masker = masker(&["hunter2"]);
    assert!(!format!("{masker:?} {:?}", masker.stream()).contains("hunter"));
    let huge = Secret::new(vec![b'x'; 8 << 20]).unwrap();
    // The same pieces over and over are few; random ones are not.
    assert!(Masker::new([&huge]).is_ok());
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        33 + (state >> 24) as u8 % 90
    })
    .take(1 << 20)
    .collect();
    assert_eq!(Masker::new([&Secret::new(noise).unwrap()]).unwrap_err().kind(), ErrorKind::TooLarge);
}

/// A secret, a form of it, and the part of that form that must not come out.
fn form() -> impl Strategy<Value = (String, String, String)> {
    let secret = "[a-zA-Z0-9 +/=\"\\\\%&<ä€-]{4,40}".prop_filter("blank", |s| s.trim().len() >= 4);
    (secret, 0..9, "[ -~]{0,7}", "[ -~]{0,7}").prop_map(|(secret, kind, before, after)| {
        let secret = secret.trim().to_owned();
        let embedded = format!("{before}{secret}{after}");
        let own = |text: &str| {
            let (first, end) = ((before.len() * 8).div_ceil(6), (before.len() + secret.len()) * 8 / 6);
            text[first..end].to_owned()
        };
        let percent =
            percent_encoding::utf8_percent_encode(&secret, percent_encoding::NON_ALPHANUMERIC).to_string();
        let json = serde_json::to_string(&secret).unwrap();
        let (text, hidden) = match kind {
            0 => (embedded, secret.clone()),
            1 => (STANDARD.encode(&embedded), own(&STANDARD.encode(&embedded))),
            2 => (STANDARD_NO_PAD.encode(&embedded), own(&STANDARD.encode(&embedded))),
            3 => (URL_SAFE.encode(&embedded), own(&URL_SAFE.encode(&embedded))),
            4 => (percent.clone(), percent),
            5 => {
                // Lower-case digits in the escapes only.
                let mut escape = 0;
                let lower: String = percent
                    .chars()
                    .map(|c| {
                        escape = if c == '%' { 2 } else { i32::max(escape - 1, -1) };
                        if escape >= 0 { c.to_ascii_lowercase() } else { c }
                    })
                    .collect();
                (lower.clone(), lower)
            }
            6 => (json.clone(), json[1..json.len() - 1].to_owned()),
            7 => {
                let hex: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
                (hex.clone(), hex)
            }
            _ => {
                let hex: String = secret.bytes().map(|b| format!("{b:02X}")).collect();
                (hex.clone(), hex)
            }
        };
        (secret, text, hidden)
    })
}

proptest! {
    #[test]
    fn no_form_of_a_secret_comes_out_however_it_is_chunked(
        (secret, text, hidden) in form(),
        before in "[a-z.:\n]{0,30}",
        after in "[a-z.:\n]{0,30}",
        sizes in prop::collection::vec(1usize..20, 1..6),
    ) {
        let masker = masker(&[&secret]);
        let out = run(&masker, format!("{before}{text}{after}").as_bytes(), &sizes).join("\n");
        prop_assert!(!out.contains(&hidden), "{hidden:?} in {out:?}");
        prop_assert!(out.contains(MASK));
    }

    #[test]
    fn noise_between_its_characters_does_not_help(
        (secret, text, hidden) in form(),
        noise in prop::collection::vec(prop::sample::select(vec!["", "\x1b[0m", "\x1b[38;5;1m", "\0", "\x07", "\x1b]0;x\x07", "\u{9b}m", "\x1b(B", "\x7f"]), 1..12),
        sizes in prop::collection::vec(1usize..20, 1..6),
    ) {
        let masker = masker(&[&secret, "abc", "def1"]);
        let mut noise = noise.iter().cycle();
        let noisy: String = text.chars().map(|c| format!("{c}{}", noise.next().unwrap())).collect();
        let out = run(&masker, noisy.as_bytes(), &sizes).join("\n");
        prop_assert!(!out.contains(&hidden), "{hidden:?} in {out:?}");
    }

    #[test]
    fn any_bytes_in_any_chunks_give_the_same_clean_lines(
        bytes in prop::collection::vec(prop_oneof![
            3 => prop::sample::select(&b"ab\r\n\x1b[]m;K \xc2\x9b:/@hunter2"[..]), 1 => any::<u8>()
        ], 0..200),
        sizes in prop::collection::vec(1usize..30, 1..6),
    ) {
        let masker = masker(&["hunter2", "ab"]);
        let out = run(&masker, &bytes, &sizes);
        for line in &out {
            prop_assert!(!line.chars().any(char::is_control) && line.len() <= LINE_MAX, "{line:?}");
            prop_assert!(!line.contains("hunter2") && !line.contains("ab"));
        }
        prop_assert_eq!(run(&masker, &bytes, &[usize::MAX]), out);
    }

    #[test]
    fn plain_text_without_secrets_comes_out_as_it_went_in(text in "[ -9;-~äöü€]{0,80}(\n[ -9;-~]{0,80}){0,5}") {
        prop_assume!(!text.contains("zzzzq"));
        prop_assert_eq!(masker(&["zzzzq"]).mask_text(&text), text.trim_end_matches('\n'));
    }
}
