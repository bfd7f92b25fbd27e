// The roles of the functions: each can do exactly what infra/permissions.txt lists, under the keys of items that
// it is limited to, whatever DynamoDB offers; write to its own log; and nothing else.
const { account, region, role, session } = require('./engine')
const { calls, guarded, leading, selects, tables, unbound, writes } = require('./dynamodb')

const functions = ['register', 'auth', 'attest']

// The items that a role is limited to, beyond the table. A call that names none is outside of them.
const limits = {
    'auth keys dynamodb:GetItem': (key) => key === 'challenge',
    'auth keys dynamodb:PutItem': (key) => key === 'challenge',
    'register workloads dynamodb:DeleteItem': selects,
    'attest workloads dynamodb:UpdateItem': (key) => !selects(key),
}

async function cases({ permissions }) {
    const cases = []
    for (const name of functions) {
        const mine = (more) => ({ principal: session(`keybroker-${name}`), own: `functions/${name}`, ...more })
        for (const table of tables) {
            for (const { action, resource, on, keyed } of await calls(table)) {
                const listed = permissions.some(([function_, , allowed, target]) =>
                    function_ === name && allowed === action && target === on)
                const denied = guarded.includes(table) && name !== 'attest' &&
                    writes.some((write) => action === `dynamodb:${write}`)
                for (const keys of keyed ? leading(table) : [undefined]) {
                    const limit = limits[`${name} ${on} ${action}`]
                    const allowed = listed && (!limit || (keys?.every(limit) ?? false))
                    cases.push(mine({
                        what: `${name} ${action} ${on} ${keys ?? ''}`,
                        action,
                        resource,
                        context: keys && { 'dynamodb:LeadingKeys': keys },
                        resourcePolicy: guarded.includes(table) ? `tables/${table}` : undefined,
                        expected: allowed ? 'Allowed' : denied ? 'ExplicitlyDenied' : 'ImplicitlyDenied',
                    }))
                }
            }
        }
        for (const call of await unbound()) {
            cases.push(mine({ what: `${name} ${call.action}`, ...call, expected: 'ImplicitlyDenied' }))
        }
        cases.push(...others(name).map(([action, resource, allowed]) => mine({
            what: `${name} ${action} ${resource}`,
            action,
            resource,
            expected: allowed ? 'Allowed' : 'ImplicitlyDenied',
        })))
        cases.push(...trust(name))
    }
    return cases
}

// Logs, and what a thief would try.
function others(name) {
    const group = (of) => `arn:aws:logs:${region}:${account}:log-group:/aws/lambda/keybroker/${of}`
    const made = functions.flatMap((of) => ['CreateLogStream', 'PutLogEvents'].map((action) =>
        [`logs:${action}`, `${group(of)}:log-stream:2026`, of === name]))
    return [
        ...made,
        ['logs:CreateLogGroup', group(name), false],
        ['logs:DeleteLogGroup', group(name), false],
        ['logs:DeleteLogStream', `${group(name)}:log-stream:2026`, false],
        ['logs:GetLogEvents', `${group(name)}:log-stream:2026`, false],
        ['iam:PassRole', role('keybroker-attest'), false],
        ['iam:PutRolePolicy', role(`keybroker-${name}`), false],
        ['sts:AssumeRole', role('keybroker-attest'), false],
        ['lambda:InvokeFunction', `arn:aws:lambda:${region}:${account}:function:keybroker-attest`, false],
        ['lambda:UpdateFunctionCode', `arn:aws:lambda:${region}:${account}:function:keybroker-${name}`, false],
        ['s3:PutObject', 'arn:aws:s3:::bucket/key', false],
        ['kms:ListKeys', '*', false],
        ['kms:CreateKey', '*', false],
    ]
}

// Lambda alone takes the role.
function trust(name) {
    const take = (principal, expected, action = 'sts:AssumeRole') => ({
        what: `${principal.service ?? principal} ${action} the role of ${name}`,
        principal,
        action,
        resource: role(`keybroker-${name}`),
        resourcePolicy: `trust/${name}`,
        expected,
    })
    return [
        take({ service: 'lambda.amazonaws.com' }, 'Allowed'),
        take({ service: 'lambda.amazonaws.com' }, 'ImplicitlyDenied', 'sts:TagSession'),
        take({ service: 'ec2.amazonaws.com' }, 'ImplicitlyDenied'),
        take(role('admin'), 'ImplicitlyDenied'),
        take(session('keybroker-register'), 'ImplicitlyDenied'),
    ]
}

module.exports = { cases }
