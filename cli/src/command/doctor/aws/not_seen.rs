//! The finding about something that AWS does not show.

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use crate::command::doctor::finding::Finding;

/// Something that is missing is a failure. Something that these credentials may not see is a warning: it may
/// be fine.
pub(super) fn not_seen<E: ProvideErrorMetadata>(
    check: &'static str,
    name: &str,
    error: &SdkError<E, HttpResponse>,
) -> Finding {
    match error.code() {
        Some("ResourceNotFoundException" | "NotFoundException") => Finding::fail(
            check,
            format!("there is no {name}"),
            "check --prefix and the region, or deploy infra/storage.yaml",
        ),
        Some(code) if code.contains("AccessDenied") => Finding::warn(
            check,
            format!("these credentials may not describe {name}"),
            "allow the credentials to describe it, or look at it yourself",
        ),
        Some(code) => Finding::fail(
            check,
            format!("{name}: AWS answered {code}"),
            "check the credentials (aws sts get-caller-identity)",
        ),
        None => {
            let found = error.raw_response().map_or_else(
                || "AWS cannot be reached".to_owned(),
                |answer| format!("AWS answered {}", answer.status().as_u16()),
            );
            Finding::fail(
                check,
                format!("{name}: {found}"),
                "check the region, the network, and AWS_ENDPOINT_URL if it is set",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;

    use super::*;

    /// A gateway in between, or an emulator, may answer without a code of AWS's.
    #[test]
    fn an_answer_without_a_code_is_told_from_none() {
        let answer = HttpResponse::new(500.try_into().unwrap(), "".into());
        let answered = SdkError::service_error(DescribeTableError::unhandled("no code"), answer);
        let silent = SdkError::<DescribeTableError, HttpResponse>::timeout_error("no answer");
        for (error, found) in [(answered, "AWS answered 500"), (silent, "AWS cannot be reached")] {
            let finding = not_seen("table", "workloads", &error);
            assert_eq!(finding.finding, format!("workloads: {found}"));
        }
    }
}
