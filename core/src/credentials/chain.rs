//! The credential chain: finds the source of the credentials among the environment, the shared files, a process, a
//! container's agent and the instance metadata.
//!
//! Source: "Standardized credential providers", AWS SDKs and Tools reference guide; where the SDKs differ, botocore. The
//! first source that has credentials, or is configured to have them, is used; if it fails, no other is tried, since that
//! would be another identity. A `profile` in the settings takes precedence over the environment's keys.
//!
//! Roles, web identity and single sign-on need other services than S3: they are recognised, and refused.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::fetch::Fetch;
use super::ini::{self, Values};
use super::shared::Profile;
use super::{Credentials, KEY_FORM, endpoint, unusable};
use crate::error::{Code, Error, Result};
use crate::time::parse_rfc3339;

pub use super::shared::{Content, File};

const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";
const EXPIRATION: &str = "AWS_CREDENTIAL_EXPIRATION";
const PROFILE: &str = "AWS_PROFILE";
const WEB_IDENTITY: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const CONTAINER_TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const METADATA_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
const METADATA_ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const METADATA_MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";

/// The variable that names the config file, instead of `~/.aws/config`.
pub const CONFIG_FILE: &str = "AWS_CONFIG_FILE";
/// The variable that names the credentials file, instead of `~/.aws/credentials`.
pub const CREDENTIALS_FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";
/// The variable that names the file with a container's token.
pub const CONTAINER_TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// The variables that [`resolve`] uses.
pub const VARIABLES: &[&str] = &[
    ACCESS_KEY,
    SECRET_KEY,
    SESSION_TOKEN,
    EXPIRATION,
    PROFILE,
    WEB_IDENTITY,
    RELATIVE_URI,
    FULL_URI,
    CONTAINER_TOKEN,
    METADATA_DISABLED,
    METADATA_ENDPOINT,
    METADATA_MODE,
];

/// Values of a profile that need another service and take precedence over its keys.
const ROLES: &[&str] = &["role_arn", "web_identity_token_file", "sso_account_id", "sso_role_name"];

/// Values of a profile that need another service, if the profile has no keys of its own.
const OTHER_LOGINS: &[&str] = &["source_profile", "sso_session", "sso_start_url", "login_session"];

/// The environment of this machine. The caller gathers it; nothing is read here.
#[derive(Clone, Default)]
pub struct Environment {
    /// The [`VARIABLES`] that are set.
    pub vars: BTreeMap<String, Zeroizing<String>>,
    /// The shared config file.
    pub config_file: File,
    /// The shared credentials file.
    pub credentials_file: File,
    /// The file with a container's token, if [`CONTAINER_TOKEN_FILE`] is set.
    pub container_token: Option<File>,
}

impl Environment {
    /// A variable that is not blank.
    fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Environment {
    /// Shows names only: variables and files contain keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.vars.keys().collect();
        write!(f, "Environment({names:?}, {}, {})", self.config_file.name, self.credentials_file.name)
    }
}

/// The source of the credentials.
#[derive(Debug)]
pub enum Source {
    /// The credentials themselves.
    Keys(Credentials),
    /// A process that prints them, for [`parse_process`](super::parse_process).
    Process(Process),
    /// A machine that requests them from an endpoint.
    Fetch(Box<Fetch>),
}

/// A `credential_process`. It is started without a shell.
pub struct Process {
    /// The profile that names it, for messages.
    pub profile: String,
    /// The program and its arguments; never empty.
    pub words: Zeroizing<Vec<String>>,
}

impl fmt::Debug for Process {
    /// Shows the program only: its arguments may contain a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({}, {:?})", self.profile, self.words.first())
    }
}

/// Finds the source of the credentials. `profile` is the option; if it is empty, `AWS_PROFILE` or else `default` is used.
///
/// Fails with [`Code::Credentials`] if no source has credentials, or the first one that is configured has none; with
/// [`Code::Config`] if a file cannot be read; and with [`Code::Unsupported`] for roles and single sign-on.
pub fn resolve(env: &Environment, profile: &str) -> Result<Source> {
    let mut tried = Vec::new();
    if !profile.is_empty() {
        tried.push("the environment's keys are ignored, since the option profile is set".to_owned());
    } else if let Some(keys) = environment(env)? {
        return Ok(Source::Keys(keys));
    } else if env.var(WEB_IDENTITY).is_some() {
        return Err(other_service(&format!("{WEB_IDENTITY} is set")));
    } else {
        tried.push(format!("the environment has no {ACCESS_KEY}"));
    }

    let name = profile_name(env, profile);
    let found = Profile::read(name, &env.config_file, &env.credentials_file)?;
    let is_named = !profile.is_empty() || env.var(PROFILE).is_some();
    if is_named && !found.is_there() {
        return Err(no_such_profile(env, name, profile.is_empty()));
    }
    if let Some(source) = from_profile(env, name, &found, &tried)? {
        return Ok(source);
    }
    tried.push(no_keys_in(&env.credentials_file, name));
    tried.push(no_keys_in(&env.config_file, name));

    match container(env, &tried)? {
        Some(fetch) => return Ok(Source::Fetch(Box::new(fetch))),
        None => tried.push(format!("no container agent is configured ({RELATIVE_URI}, {FULL_URI})")),
    }
    instance(env, &mut tried).map(|fetch| Source::Fetch(Box::new(fetch)))
}

/// The error if no source has credentials. `tried` says for each source why not.
pub(super) fn exhausted(tried: &[String]) -> Error {
    unusable(format!("no credentials were found: {}", tried.join("; ")))
        .with_hint("Configure one of these sources, or set credentials = static, access_key and secret_key.")
}

fn no_keys_in(file: &File, profile: &str) -> String {
    match file.content {
        Content::Absent => format!("{} does not exist", file.name),
        _ => format!("{} has no keys for the profile '{profile}'", file.name),
    }
}

fn no_such_profile(env: &Environment, name: &str, by_variable: bool) -> Error {
    let who = if by_variable { PROFILE } else { "the option profile" };
    let place = |file: &File| match file.content {
        Content::Absent => format!("{} does not exist", file.name),
        _ => format!("{} has no such section", file.name),
    };
    let (config, credentials) = (place(&env.config_file), place(&env.credentials_file));
    unusable(format!("{who} is '{name}', but there is no such profile: {config}, {credentials}"))
        .with_hint(format!("Add [profile {name}] to the config file or [{name}] to the credentials file."))
}

fn other_service(what: &str) -> Error {
    let message = format!("{what}: it needs AWS's STS or IAM Identity Center, which this version does not support");
    Error::new(Code::Unsupported, message).with_hint(
        "Use a credential_process to get temporary credentials, for example 'aws configure export-credentials --format process'.",
    )
}

/// The credentials in the environment.
fn environment(env: &Environment) -> Result<Option<Credentials>> {
    let Some(access_key) = env.var(ACCESS_KEY) else { return Ok(None) };
    let Some(secret_key) = env.var(SECRET_KEY) else {
        return Err(unusable(format!("the environment has {ACCESS_KEY} but no {SECRET_KEY}"))
            .with_hint("Set both variables, or neither."));
    };
    let expires_ms = match env.var(EXPIRATION) {
        None => None,
        Some(text) => Some(parse_rfc3339(text).ok_or_else(|| {
            unusable(format!("the environment's {EXPIRATION} is not a time such as 2026-11-24T13:30:00Z"))
        })?),
    };
    Credentials::checked(access_key, secret_key, env.var(SESSION_TOKEN), expires_ms).map(Some).map_err(|why| {
        unusable(format!("the environment's keys cannot be used: {why}"))
            .with_hint(format!("Correct {ACCESS_KEY}, {SECRET_KEY} or {SESSION_TOKEN}. {KEY_FORM}"))
    })
}

/// The source that a profile names.
fn from_profile(env: &Environment, name: &str, profile: &Profile, tried: &[String]) -> Result<Option<Source>> {
    let refused = |keys: &[&str]| match keys.iter().find(|key| profile.get(key).is_some()) {
        Some(key) => Err(other_service(&format!("the profile '{name}' has {key}"))),
        None => Ok(()),
    };
    refused(ROLES)?;
    if let Some(keys) = keys_of(profile.credentials.as_ref(), name, &env.credentials_file)? {
        return Ok(Some(Source::Keys(keys)));
    }
    if let Some(command) = profile.get("credential_process") {
        return process(name, command).map(|process| Some(Source::Process(process)));
    }
    if let Some(keys) = keys_of(profile.config.as_ref(), name, &env.config_file)? {
        return Ok(Some(Source::Keys(keys)));
    }
    refused(OTHER_LOGINS)?;
    match profile.get("credential_source") {
        None => Ok(None),
        Some(place) => named_place(env, name, place, tried).map(Some),
    }
}

/// The credentials in one file's section.
fn keys_of(values: Option<&Values>, profile: &str, file: &File) -> Result<Option<Credentials>> {
    let value = |name| values.and_then(|values| ini::get(values, name)).filter(|value| !value.is_empty());
    let place = || format!("the profile '{profile}' in {}", file.name);
    let Some(access_key) = value("aws_access_key_id") else { return Ok(None) };
    let Some(secret_key) = value("aws_secret_access_key") else {
        return Err(unusable(format!("{} has aws_access_key_id but no aws_secret_access_key", place())));
    };
    Credentials::checked(access_key, secret_key, value("aws_session_token"), None).map(Some).map_err(|why| {
        unusable(format!("{} has keys that cannot be used: {why}", place()))
            .with_hint(format!("Correct the keys of this profile. {KEY_FORM}"))
    })
}

fn process(profile: &str, command: &str) -> Result<Process> {
    match shlex::split(command) {
        Some(words) if !words.is_empty() => Ok(Process { profile: profile.to_owned(), words: Zeroizing::new(words) }),
        _ => Err(Error::new(
            Code::Config,
            format!("the profile '{profile}' has an invalid credential_process: it is empty, or a quote is not closed"),
        )
        .with_hint("Set it to a program and its arguments, quoted as in a shell.")),
    }
}

/// The source that `credential_source` names. A profile with `role_arn` was refused before.
fn named_place(env: &Environment, profile: &str, place: &str, tried: &[String]) -> Result<Source> {
    let says = format!("the profile '{profile}' has credential_source = {place}");
    let found = match place {
        "Environment" => environment(env)?.map(Source::Keys),
        "EcsContainer" => container(env, tried)?.map(|fetch| Source::Fetch(Box::new(fetch))),
        "Ec2InstanceMetadata" => {
            let mut tried = tried.to_vec();
            tried.push(says.clone());
            Some(Source::Fetch(Box::new(instance(env, &mut tried)?)))
        }
        _ => {
            return Err(unusable(format!("{says}, which is not a valid source"))
                .with_hint("Set it to Environment, EcsContainer or Ec2InstanceMetadata."));
        }
    };
    found.ok_or_else(|| unusable(format!("{says}, but it has no credentials")))
}

/// A container's agent, if the variables name one.
fn container(env: &Environment, tried: &[String]) -> Result<Option<Fetch>> {
    let (variable, url) = match (env.var(RELATIVE_URI), env.var(FULL_URI)) {
        (Some(path), _) => (RELATIVE_URI, endpoint::relative(path)),
        (None, Some(url)) => (FULL_URI, endpoint::full(url)),
        (None, None) => return Ok(None),
    };
    let url = url.map_err(|why| unusable(format!("{variable} cannot be used: {why}")))?;
    let token = match &env.container_token {
        Some(file) => {
            let missing = || unusable(format!("{CONTAINER_TOKEN_FILE} is {}, which does not exist", file.name));
            Some((CONTAINER_TOKEN_FILE, file.text()?.ok_or_else(missing)?.trim()))
        }
        None => env.var(CONTAINER_TOKEN).map(|token| (CONTAINER_TOKEN, token)),
    };
    if let Some((variable, token)) = token
        && (token.is_empty() || !token.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()))
    {
        return Err(unusable(format!("{variable} gives a token that is not valid in a header")));
    }
    Ok(Some(Fetch::container(url, token.map(|(_, token)| token), tried)))
}

/// The metadata of an EC2 instance: the last source.
fn instance(env: &Environment, tried: &mut Vec<String>) -> Result<Fetch> {
    if env.var(METADATA_DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        tried.push(format!("the instance metadata service is disabled ({METADATA_DISABLED})"));
        return Err(exhausted(tried));
    }
    let url = endpoint::instance(env.var(METADATA_ENDPOINT), env.var(METADATA_MODE)).map_err(unusable)?;
    Ok(Fetch::instance(url, tried))
}

fn profile_name<'a>(env: &'a Environment, profile: &'a str) -> &'a str {
    if profile.is_empty() { env.var(PROFILE).unwrap_or("default") } else { profile }
}

#[cfg(test)]
mod tests;
