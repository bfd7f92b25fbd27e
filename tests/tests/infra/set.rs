//! `infra/set` on a local AWS, over a stack whose parameters have names of the functions' stack.

use std::fs;

use keybroker_tests::{
    local_aws,
    program::{Ended, workspace},
    unique,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const TEMPLATE: &str = "
Parameters:
  GuestRate: {Type: Number}
  KdsUrl: {Type: String}
  MinimumTcb: {Type: String}
Resources:
  Log:
    Type: AWS::Logs::LogGroup
    Properties: {LogGroupName: !Ref AWS::StackName}
";

/// moto knows no previous value of a parameter that had its default.
const MAKE: &str = "
import boto3, os, sys
stack, template = sys.argv[1:]
client = boto3.client('cloudformation', os.environ['AWS_REGION'])
values = {'GuestRate': '50', 'KdsUrl': '', 'MinimumTcb': 'any'}
given = [{'ParameterKey': name, 'ParameterValue': value} for name, value in values.items()]
client.create_stack(StackName=stack, TemplateBody=template, Parameters=given)
";

const SHOW: &str = "
import boto3, json, os, sys
client = boto3.client('cloudformation', os.environ['AWS_REGION'])
shown = client.describe_stacks(StackName=sys.argv[1])['Stacks'][0]['Parameters']
print(json.dumps({one['ParameterKey']: one['ParameterValue'] for one in shown}))
";

fn python(arguments: &[&str]) -> Ended {
    local_aws::python().args(arguments).output().unwrap().into()
}

/// A new stack.
fn stack(template: &str) -> String {
    let stack = unique("stack");
    let ended = python(&["-c", MAKE, &stack, template]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    stack
}

fn parameters(stack: &str) -> Value {
    serde_json::from_str(&python(&["-c", SHOW, stack]).out).unwrap()
}

fn set(stack: &str, settings: &[&str]) -> Ended {
    let script = workspace().join("infra/set");
    python(&[&[script.to_str().unwrap(), "--stack", stack], settings].concat())
}

#[test]
fn a_parameter_is_changed_and_the_others_stay() {
    let stack = stack(TEMPLATE);
    for (settings, out) in [
        (&["KdsUrl=http://kds.example"][..], "KdsUrl: nothing -> http://kds.example\nchanged\n"),
        (&["GuestRate=200", "MinimumTcb=any"], "GuestRate: 50 -> 200\nchanged\n"),
        (&["GuestRate=200"], "nothing to change\n"),
        (
            &["MinimumTcb=milan-b1:snp=27,ucode=222;turin-c1:fmc=1"],
            "MinimumTcb: any -> milan-b1:snp=27,ucode=222;turin-c1:fmc=1\nchanged\n",
        ),
    ] {
        let ended = set(&stack, settings);
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), out), "{ended:?}");
    }
    let floor = "milan-b1:snp=27,ucode=222;turin-c1:fmc=1";
    let expected = json!({"GuestRate": "200", "KdsUrl": "http://kds.example", "MinimumTcb": floor});
    assert_eq!(parameters(&stack), expected);
    assert_eq!(set(&stack, &["KdsUrl="]).code, Some(0));
    assert_eq!(parameters(&stack)["KdsUrl"], "");
}

/// A module in boto3's place, whose stack is updated after an hour.
const SLOW: &str = "
import sys, types
exceptions = types.ModuleType('botocore.exceptions')
exceptions.BotoCoreError = exceptions.ClientError = type('Failed', (Exception,), {})
sys.modules |= {'botocore': types.ModuleType('botocore'), 'botocore.exceptions': exceptions}
class Client:
    def describe_stacks(self, StackName):
        return {'Stacks': [{'Parameters': [{'ParameterKey': 'SubnetIds', 'ParameterValue': 'subnet-0a'}]}]}
    def get_template(self, StackName): return {'TemplateBody': ''}
    def update_stack(self, **_): pass
    def get_waiter(self, _): return self
    def wait(self, StackName, WaiterConfig):
        if WaiterConfig['Delay'] * WaiterConfig.get('MaxAttempts', 120) < 3600:
            raise exceptions.BotoCoreError('Max attempts exceeded')
def client(*_, **__): return Client()
";

/// A stack leaves a VPC when Lambda has taken its network interfaces back.
#[test]
fn a_change_is_waited_for_as_long_as_it_takes() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("boto3.py"), SLOW).unwrap();
    let mut command = local_aws::python();
    command.arg(workspace().join("infra/set")).args(["SubnetIds="]).env("PYTHONPATH", directory.path());
    let ended = Ended::from(command.output().unwrap());
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(0), "SubnetIds: subnet-0a -> nothing\nchanged\n"),
        "{ended:?}"
    );
}

#[test]
fn nothing_is_changed_that_guests_would_not_meet() {
    let aliases = format!("Globals:\n  Function: {{AutoPublishAlias: live}}\n{TEMPLATE}");
    for (template, settings, code, because) in [
        (TEMPLATE, &["GuestRate=200", "MinimumTCB=any"][..], 1, "has no parameter MinimumTCB"),
        (TEMPLATE, &["GuestRate"], 2, "GuestRate is not NAME=VALUE"),
        (&aliases, &["GuestRate=200"], 1, "deploy the change with it, with AllAtOnce"),
    ] {
        let stack = stack(template);
        let ended = set(&stack, settings);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.out.is_empty() && ended.log.contains(because), "{ended:?}");
        assert_eq!(parameters(&stack)["GuestRate"], "50");
    }
    assert_eq!(set(&unique("stack"), &["GuestRate=200"]).code, Some(1));
}
