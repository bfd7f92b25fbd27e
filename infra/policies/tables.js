// The policies of tables: attest alone writes, whatever the account allows to anybody; and the stack can still be
// managed, and decisions read.
const { account, role, session } = require('./engine')
const { arn, calls, guarded, writes } = require('./dynamodb')

const administrators = [
    role('admin'), role('keybroker-register'), role('keybroker-attest2'), role('path/keybroker-attest'),
    role('aws-service-role/replication.dynamodb.amazonaws.com/AWSServiceRoleForDynamoDBReplication'),
    `arn:aws:iam::${account}:user/keybroker-attest`,
    `arn:aws:sts::${account}:assumed-role/admin/keybroker-attest`,
]
const attest = [role('keybroker-attest'), session('keybroker-attest')]

async function cases() {
    const made = []
    for (const table of guarded) {
        const resourcePolicy = `tables/${table}`
        const call = (expected, principal, action, resource) => made.push({
            what: `${principal.service ?? principal} ${action} ${table}`,
            principal, action, resource, resourcePolicy, expected,
        })
        for (const action of writes.map((name) => `dynamodb:${name}`)) {
            for (const principal of administrators) call('ExplicitlyDenied', principal, action, arn(table))
            for (const principal of attest) call('Allowed', principal, action, arn(table))
            // DynamoDB itself deletes what has expired: nobody allows it that here, and nobody denies it.
            call('ImplicitlyDenied', { service: 'dynamodb.amazonaws.com' }, action, arn(table))
        }
        for (const { action, resource } of await calls(table)) {
            if (writes.some((write) => action === `dynamodb:${write}`)) continue
            call('Allowed', role('admin'), action, resource)
        }
    }
    return made
}

module.exports = { administrators, attest, cases }
