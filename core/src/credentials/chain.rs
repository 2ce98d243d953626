//! Which place has the keys: the environment, the shared files, a process, a container's agent, the instance's metadata.
//!
//! Source: "Standardized credential providers", AWS SDKs and Tools reference guide; where the SDKs differ, as botocore
//! does it. The first place that has keys, or says that it should have them, is taken; when it fails, no other one is
//! tried, since that would be another identity. A `profile` that the settings name goes before the environment's keys.
//!
//! Roles, web identity and single sign-on need other services than S3: they are recognised and refused.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::fetch::Fetch;
use super::ini::{self, Values};
use super::shared::Profile;
use super::{Credentials, endpoint, unusable};
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

/// The variable that names the config file, in place of `~/.aws/config`.
pub const CONFIG_FILE: &str = "AWS_CONFIG_FILE";
/// The variable that names the credentials file, in place of `~/.aws/credentials`.
pub const CREDENTIALS_FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";
/// The variable that names the file with a container's token.
pub const CONTAINER_TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// The variables that [`resolve`] looks at.
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

/// Values of a profile that ask for another service before its keys are looked at.
const ROLES: &[&str] = &["role_arn", "web_identity_token_file", "sso_account_id", "sso_role_name"];

/// The same, for a profile that has no keys of its own.
const OTHER_LOGINS: &[&str] = &["source_profile", "sso_session", "sso_start_url", "login_session"];

/// What this machine has. The caller gathers it; nothing is read here.
#[derive(Clone, Default)]
pub struct Environment {
    /// The [`VARIABLES`] that are set.
    pub vars: BTreeMap<String, Zeroizing<String>>,
    /// The shared config file.
    pub config_file: File,
    /// The shared credentials file.
    pub credentials_file: File,
    /// The file of a container's token, where [`CONTAINER_TOKEN_FILE`] is set.
    pub container_token: Option<File>,
}

impl Environment {
    /// A variable that is not blank.
    fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Environment {
    /// Names only: variables and files hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.vars.keys().collect();
        write!(f, "Environment({names:?}, {}, {})", self.config_file.name, self.credentials_file.name)
    }
}

/// Where the keys come from.
#[derive(Debug)]
pub enum Source {
    /// They are here.
    Keys(Credentials),
    /// This process prints them, for [`parse_process`](super::parse_process).
    Process(Process),
    /// This machine asks for them.
    Fetch(Box<Fetch>),
}

/// A `credential_process`. It is started without a shell.
pub struct Process {
    /// The profile that names it, for messages.
    pub profile: String,
    /// The program and its arguments; never none.
    pub words: Zeroizing<Vec<String>>,
}

impl fmt::Debug for Process {
    /// The program only: a secret may stand in its arguments.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({}, {:?})", self.profile, self.words.first())
    }
}

/// Finds the place that has the keys. `profile` is the setting; empty for `AWS_PROFILE`, else `default`.
///
/// Fails with [`Code::Credentials`] where no place has keys, or the first one that should have some has not, with
/// [`Code::Config`] where a file cannot be read, and with [`Code::Unsupported`] for roles and single sign-on.
pub fn resolve(env: &Environment, profile: &str) -> Result<Source> {
    let mut tried = Vec::new();
    if !profile.is_empty() {
        tried.push("the environment's keys are passed over, since the setting profile is set".to_owned());
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
        None => tried.push(format!("there is no container's agent ({RELATIVE_URI}, {FULL_URI})")),
    }
    instance(env, &mut tried).map(|fetch| Source::Fetch(Box::new(fetch)))
}

/// The error of a chain that is at its end. `tried` says for each place why it has no keys.
pub(super) fn exhausted(tried: &[String]) -> Error {
    unusable(format!("no credentials were found: {}", tried.join("; ")))
        .with_hint("Put keys into one of these places, or set credentials = static with access_key and secret_key.")
}

fn no_keys_in(file: &File, profile: &str) -> String {
    match file.content {
        Content::Absent => format!("{} does not exist", file.name),
        _ => format!("{} has no keys for the profile '{profile}'", file.name),
    }
}

fn no_such_profile(env: &Environment, name: &str, by_variable: bool) -> Error {
    let who = if by_variable { PROFILE } else { "the setting profile" };
    let place = |file: &File| match file.content {
        Content::Absent => format!("{} does not exist", file.name),
        _ => format!("{} has no such section", file.name),
    };
    let (config, credentials) = (place(&env.config_file), place(&env.credentials_file));
    unusable(format!("{who} is '{name}', and there is no such profile: {config}, {credentials}"))
        .with_hint(format!("A profile is [profile {name}] in the config file or [{name}] in the credentials file."))
}

fn other_service(what: &str) -> Error {
    let message = format!("{what}: that needs AWS's STS or IAM Identity Center, which comes with a later version");
    Error::new(Code::Unsupported, message).with_hint(
        "Get temporary keys by a credential_process, for example 'aws configure export-credentials --format process'.",
    )
}

/// The keys in the environment's variables.
fn environment(env: &Environment) -> Result<Option<Credentials>> {
    let Some(access_key) = env.var(ACCESS_KEY) else { return Ok(None) };
    let Some(secret_key) = env.var(SECRET_KEY) else {
        return Err(unusable(format!("the environment has {ACCESS_KEY} and no {SECRET_KEY}"))
            .with_hint("Set both variables, or neither."));
    };
    let expires_ms = match env.var(EXPIRATION) {
        None => None,
        Some(text) => Some(parse_rfc3339(text).ok_or_else(|| {
            unusable(format!("the environment's {EXPIRATION} is not a time such as 2026-11-24T13:30:00Z"))
        })?),
    };
    Credentials::checked(access_key, secret_key, env.var(SESSION_TOKEN), expires_ms)
        .map(Some)
        .map_err(|why| unusable(format!("the environment's pair of keys cannot be used: {why}")))
}

/// What a profile says about where its keys are.
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

/// The pair of keys in one file's section.
fn keys_of(values: Option<&Values>, profile: &str, file: &File) -> Result<Option<Credentials>> {
    let value = |name| values.and_then(|values| ini::get(values, name)).filter(|value| !value.is_empty());
    let place = || format!("the profile '{profile}' in {}", file.name);
    let Some(access_key) = value("aws_access_key_id") else { return Ok(None) };
    let Some(secret_key) = value("aws_secret_access_key") else {
        return Err(unusable(format!("{} has aws_access_key_id and no aws_secret_access_key", place())));
    };
    Credentials::checked(access_key, secret_key, value("aws_session_token"), None)
        .map(Some)
        .map_err(|why| unusable(format!("{} has a pair of keys that cannot be used: {why}", place())))
}

fn process(profile: &str, command: &str) -> Result<Process> {
    match shlex::split(command) {
        Some(words) if !words.is_empty() => Ok(Process { profile: profile.to_owned(), words: Zeroizing::new(words) }),
        _ => Err(Error::new(
            Code::Config,
            format!(
                "the profile '{profile}' has a credential_process that is no command: a quote is open, or it is empty"
            ),
        )
        .with_hint("It is a program and its arguments, with quotes as in a shell.")),
    }
}

/// `credential_source`: the profile says which place has its keys. With `role_arn` it was refused before.
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
            return Err(unusable(format!("{says}, which is no place"))
                .with_hint("It is Environment, EcsContainer or Ec2InstanceMetadata."));
        }
    };
    found.ok_or_else(|| unusable(format!("{says}, and there are no keys")))
}

/// The agent of a container, where the variables name one.
fn container(env: &Environment, tried: &[String]) -> Result<Option<Fetch>> {
    let (variable, url) = match (env.var(RELATIVE_URI), env.var(FULL_URI)) {
        (Some(path), _) => (RELATIVE_URI, endpoint::relative(path)),
        (None, Some(url)) => (FULL_URI, endpoint::full(url)),
        (None, None) => return Ok(None),
    };
    let url = url.map_err(|why| unusable(format!("{variable} cannot be used: {why}")))?;
    let token = match &env.container_token {
        Some(file) => {
            let missing = || unusable(format!("{CONTAINER_TOKEN_FILE} is {}, and that does not exist", file.name));
            Some((CONTAINER_TOKEN_FILE, file.text()?.ok_or_else(missing)?.trim()))
        }
        None => env.var(CONTAINER_TOKEN).map(|token| (CONTAINER_TOKEN, token)),
    };
    if let Some((variable, token)) = token
        && (token.is_empty() || !token.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()))
    {
        return Err(unusable(format!("{variable} gives a token that cannot stand in a header")));
    }
    Ok(Some(Fetch::container(url, token.map(|(_, token)| token), tried)))
}

/// The metadata of an EC2 instance: the last place.
fn instance(env: &Environment, tried: &mut Vec<String>) -> Result<Fetch> {
    if env.var(METADATA_DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        tried.push(format!("the instance's metadata are not asked ({METADATA_DISABLED})"));
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
