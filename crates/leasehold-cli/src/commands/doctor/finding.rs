//! What a check came to.

use serde::Serialize;

/// How bad it is, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// All is well.
    Ok,
    /// Worth knowing.
    Note,
    /// A promise may be broken, or locks may be slow.
    Warning,
    /// A promise is broken sooner or later, or locks do not work.
    Danger,
}

/// One check, in the stable shape of `--json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked: stable, and listed in the documentation.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, in a few words.
    pub title: String,
    /// What was seen.
    pub seen: String,
    /// What that means for the promises.
    pub means: Option<String>,
    /// What to do: commands, one a line.
    #[serde(rename = "do")]
    pub remedy: Option<String>,
}

impl Check {
    /// Nothing was found.
    pub fn ok(id: &'static str, title: &str, seen: impl Into<String>) -> Check {
        Check { id, severity: Severity::Ok, title: title.into(), seen: seen.into(), means: None, remedy: None }
    }

    /// Something was found.
    pub fn found(id: &'static str, severity: Severity, title: impl Into<String>, seen: impl Into<String>) -> Check {
        Check { severity, title: title.into(), ..Check::ok(id, "", seen) }
    }

    /// Something worth knowing was found.
    pub fn note(id: &'static str, title: impl Into<String>, seen: impl Into<String>) -> Check {
        Check::found(id, Severity::Note, title, seen)
    }

    /// Something was found that may break a promise.
    pub fn warning(id: &'static str, title: impl Into<String>, seen: impl Into<String>) -> Check {
        Check::found(id, Severity::Warning, title, seen)
    }

    /// Something was found that breaks a promise.
    pub fn danger(id: &'static str, title: impl Into<String>, seen: impl Into<String>) -> Check {
        Check::found(id, Severity::Danger, title, seen)
    }

    /// Says what it means for the promises.
    pub fn means(mut self, text: impl Into<String>) -> Check {
        self.means = Some(text.into());
        self
    }

    /// Says what to do.
    pub fn remedy(mut self, text: impl Into<String>) -> Check {
        self.remedy = Some(text.into());
        self
    }
}
