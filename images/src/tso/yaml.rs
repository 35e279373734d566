//! What the texts of a package have together.

use super::TsoError;
use serde::de::DeserializeOwned;
use serde_yaml::Mapping;

/// Reads a text of at most `max` bytes, whose field `key` has this version of its format. That is looked at first: what
/// later ones may have in them is not known.
///
/// # Errors
/// [`TsoError::Text`] with line and column, [`TsoError::Version`].
pub fn read<T: DeserializeOwned>(
    file: &'static str,
    text: &str,
    max: usize,
    (key, known): (&str, u64),
) -> Result<T, TsoError> {
    if text.len() > max {
        let problem = format!("it has {} bytes, and at most {max} are allowed", text.len());
        return Err(TsoError::in_text(file, problem));
    }
    let all: Mapping = serde_yaml::from_str(text).map_err(|error| problem(file, &error))?;
    let Some(version) = all.get(key).and_then(serde_yaml::Value::as_u64) else {
        let problem =
            format!("it does not say which version of its format it is of: `{key}: {known}` is missing");
        return Err(TsoError::in_text(file, problem));
    };
    if version != known {
        return Err(TsoError::Version { file, version, known });
    }
    serde_yaml::from_str(text).map_err(|error| problem(file, &error))
}

fn problem(file: &'static str, error: &serde_yaml::Error) -> TsoError {
    // serde_yaml gives no place for a field that is missing or twice at the top level.
    let problem = error.to_string();
    let place = if problem.contains(" at line ") { "" } else { ", at the top level" };
    TsoError::in_text(file, format!("{problem}{place}"))
}

/// Writes a text that [`read`] reads.
///
/// # Errors
/// [`TsoError::Text`] if what is to be written has a form that YAML has not.
pub fn write(file: &'static str, what: &impl serde::Serialize) -> Result<String, TsoError> {
    serde_yaml::to_string(what).map_err(|error| TsoError::in_text(file, error.to_string()))
}
