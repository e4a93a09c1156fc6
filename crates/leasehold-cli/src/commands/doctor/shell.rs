//! Commands that a person can paste into a shell.

use crate::store::Store;

/// One word as a shell reads it.
pub fn quoted(word: &str) -> String {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(harmless) {
        return word.into();
    }
    if word.chars().any(char::is_control) {
        return format!("\"$(printf '{}')\"", word.chars().map(for_printf).collect::<String>());
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A character of a format for `printf` between single quotes.
fn for_printf(character: char) -> String {
    match character {
        '\'' => "'\\''".into(),
        '\\' => "\\\\".into(),
        '%' => "%%".into(),
        control if control.is_ascii_control() => format!("\\{:03o}", control as u32),
        other => other.into(),
    }
}

/// A command line of this program for the store at `url`; nothing secret of it is shown.
pub fn leasehold<S: AsRef<str>>(url: &str, command: &str, words: impl IntoIterator<Item = S>) -> String {
    let is_secret = Store::at(url).has_secret();
    let mut all = vec!["leasehold".to_owned(), command.to_owned()];
    if !is_secret {
        all.extend(["--url".to_owned(), url.to_owned()]);
    }
    all.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
    line(all) + if is_secret { "    # with the store's URL in LEASEHOLD_URL" } else { "" }
}

/// Words as one command line.
pub fn line<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    words.into_iter().map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_its_store_unless_that_shows_a_password() {
        assert_eq!(
            leasehold("redis://h/1?prefix=x", "inspect", ["--", "a b"]),
            "leasehold inspect --url 'redis://h/1?prefix=x' -- 'a b'"
        );
        let secret = leasehold("redis://u:pw@h/1", "inspect", ["--", "a"]);
        assert_eq!(secret, "leasehold inspect -- a    # with the store's URL in LEASEHOLD_URL");
    }

    #[test]
    fn a_shell_reads_each_word_as_it_was_meant() {
        assert_eq!(
            line(["redis-cli", "-p", "6379", "+client|setname", "~leasehold:*", ""]),
            "redis-cli -p 6379 '+client|setname' '~leasehold:*' ''"
        );
        let odd = ["it's", "$HOME `x` \"y\" \\", "a b", "&x;|", "\u{1}it's 5 % \\n"];
        let script = format!("printf '%s\\n' {}", line(odd));
        let printed = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&printed.stdout), odd.join("\n") + "\n");
    }
}
