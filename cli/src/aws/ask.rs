//! Calls of services that the program has no client for. Each client would be another crate of AWS's, as
//! large as the broker, and there are three questions to ask.

use std::{env, error::Error, time::SystemTime};

use axum::http::{HeaderMap, HeaderValue};
use keybroker_aws::cause::{NOT_REACHED, SILENT};
use reqwest::{Certificate, Client, Response, Url, redirect::Policy};
use serde_json::Value;

use super::{
    Account, Trouble,
    login::CALL,
    signature::{Scope, signature},
};

/// The longest answer that is read, in bytes.
const MOST: usize = 4 << 20;

/// A service, and how it is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Service {
    /// Its name for people.
    pub(crate) name: &'static str,
    /// Its name in addresses.
    pub(crate) host: &'static str,
    /// Its name in signatures.
    pub(crate) signed: &'static str,
    /// The variable that names another address, as for AWS's own tools.
    pub(crate) variable: &'static str,
}

/// A client for such calls, with the credentials of an account.
#[derive(Debug)]
pub(crate) struct Asker<'a> {
    account: &'a Account,
    client: Client,
}

impl<'a> Asker<'a> {
    /// Connects to nothing yet.
    pub(crate) fn new(account: &'a Account) -> anyhow::Result<Self> {
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| Certificate::from_der(der));
        let client = Client::builder()
            .tls_certs_only(roots.collect::<Result<Vec<_>, _>>()?)
            .redirect(Policy::none())
            .timeout(CALL)
            .build()?;
        Ok(Self { account, client })
    }

    /// Asks a service that speaks JSON for `target`, its name of the operation.
    pub(crate) async fn json(
        &self,
        service: Service,
        target: &str,
        question: &Value,
    ) -> Result<Value, Trouble> {
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target)];
        let answer = self.ask(service, self.account.region(), &headers, question.to_string()).await?;
        serde_json::from_slice(&answer).map_err(|_| unusable(service))
    }

    /// Asks a service in `region` that takes a form and answers in XML.
    pub(crate) async fn form(
        &self,
        service: Service,
        region: &str,
        fields: &[(&str, &str)],
    ) -> Result<String, Trouble> {
        let mut form = Url::parse("form:").map_err(|_| unusable(service))?;
        form.query_pairs_mut().extend_pairs(fields);
        let body = form.query().unwrap_or_default().to_owned();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = self.ask(service, region, &headers, body).await?;
        String::from_utf8(answer).map_err(|_| unusable(service))
    }

    async fn ask(
        &self,
        service: Service,
        region: &str,
        headers: &[(&'static str, &str)],
        body: String,
    ) -> Result<Vec<u8>, Trouble> {
        // The region of a topic is what an alarm says of it, and becomes a part of a host's name.
        if !is_region(region) {
            return Err(unmade(service));
        }
        let url = self.url(service, region);
        let credentials = self.account.credentials().await?;
        let scope = Scope { region, service: service.signed, time: SystemTime::now() };
        let over = headers.iter().copied();
        let signed = signature(credentials, &scope, "POST", &url, over, body.as_bytes());
        let mut fields = signed.map_err(|_| unmade(service))?;
        for (name, value) in headers {
            fields.insert(*name, HeaderValue::from_str(value).map_err(|_| unmade(service))?);
        }
        let answer = self.client.post(&url).headers(fields).body(body).send().await;
        let answer = answer.map_err(|error| unanswered(service, &error))?;
        read(service, answer).await
    }

    /// The service's address: what a variable or the profile sets, or AWS's own.
    fn url(&self, service: Service, region: &str) -> String {
        let set = env::var(service.variable).ok().filter(|url| !url.is_empty());
        if let Some(url) = set.as_deref().or_else(|| self.account.config.endpoint_url()) {
            return url.to_owned();
        }
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        format!("https://{}.{region}.{suffix}/", service.host)
    }
}

/// Whether this can be the name of a region, and changes nothing else in an address.
fn is_region(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

async fn read(service: Service, mut answer: Response) -> Result<Vec<u8>, Trouble> {
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unanswered(service, &error))? {
        if body.len() + chunk.len() > MOST {
            return Err(unusable(service));
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return Ok(body);
    }
    let (code, message) = refusal(&headers, &String::from_utf8_lossy(&body));
    let code = code.unwrap_or_else(|| format!("status {}", status.as_u16()));
    let told = [service.name, &code, &message].into_iter().filter(|part| !part.is_empty());
    let told = told.collect::<Vec<_>>().join(": ");
    Err(if status.is_server_error() { Trouble::unavailable(&told) } else { Trouble::told(&told) })
}

/// The code of an error, and AWS's words about it, from JSON or XML.
fn refusal(headers: &HeaderMap, body: &str) -> (Option<String>, String) {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
    let named = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let code = text("__type").or(named).or_else(|| between(body, "<Code>", "</Code>").map(str::to_owned));
    let message = text("message").or_else(|| text("Message"));
    let message = message.or_else(|| between(body, "<Message>", "</Message>").map(str::to_owned));
    // A namespace may stand before the code, and an address behind it.
    let code = code.map(|code| {
        code.rsplit('#').next().unwrap_or_default().split(':').next().unwrap_or_default().to_owned()
    });
    (code, message.unwrap_or_default())
}

/// The text between two others, the first time that there is any.
pub(crate) fn between<'a>(text: &'a str, before: &str, behind: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(behind)?.0)
}

fn unanswered(service: Service, error: &reqwest::Error) -> Trouble {
    if error.is_timeout() {
        return Trouble::told(&format!("{}{SILENT}", service.name));
    }
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    Trouble::told(&format!("{}{NOT_REACHED}: {deepest}", service.name))
}

fn unusable(service: Service) -> Trouble {
    Trouble::unavailable(&format!("{} gave no usable answer", service.name))
}

fn unmade(service: Service) -> Trouble {
    Trouble::unavailable(&format!("{} was not asked: the request could not be made", service.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_leads_to_no_other_host() {
        assert!(is_region("us-gov-west-1"));
        for other in ["", "evil.example/", "eu-west-1.example", "a:b", "a@b", "a b"] {
            assert!(!is_region(other), "{other:?}");
        }
    }
}
