// The policies for operators and builders: each allows every call of its commands in
// infra/operator-permissions.txt, under the limits below, and nothing that none of them makes.
const { account, dynamodb, region, role, session } = require('./engine')
const { arn, calls, guarded, leading, retired, selects, tables, unbound } = require('./dynamodb')
const kms = require('./key')

// The items that a policy is limited to, beyond the table.
const limits = {
    'images keys': (key) => key === 'signature',
    'images workloads': (key) => !selects(key),
    'revocation workloads': (key) => !selects(key),
    'rewrap workloads': (key) => !selects(key),
    'keys keys': (key) => ['challenge', 'session', 'result'].includes(key),
    'signing-keys keys': (key) => key === 'signature',
    'resources workloads': (key) => key.startsWith('billing-'),
}
// The encryption contexts under which a policy uses the key.
const contexts = {
    'signing-keys': (context) => context.purpose === 'keybroker/signature',
    resources: ({ purpose, workload_id: id }) => purpose === 'keybroker/v1' && (id?.startsWith('billing-') ?? false),
}
// Denied on every other key than the deployment's under each purpose, whatever that key's policy says.
const pinned = { 'signing-keys': ['kms:Encrypt'], resources: ['kms:Encrypt'] }
// What else commands ask, and what they must not do there.
const beside = {
    'cloudwatch:DescribeAlarms': ['alarms', `arn:aws:cloudwatch:${region}:${account}:alarm:other`],
    'cloudwatch:DeleteAlarms': ['alarms', `arn:aws:cloudwatch:${region}:${account}:alarm:keybroker-refusals`],
    'cloudwatch:PutMetricAlarm': ['alarms', `arn:aws:cloudwatch:${region}:${account}:alarm:keybroker-refusals`],
    'logs:DescribeLogGroups': ['logs', '*'],
    'logs:DeleteLogGroup': ['logs', `arn:aws:logs:${region}:${account}:log-group:keybroker`],
    'logs:FilterLogEvents': ['logs', `arn:aws:logs:${region}:${account}:log-group:keybroker`],
    'sns:GetTopicAttributes': ['topic', `arn:aws:sns:${region}:${account}:topic`],
    'sns:Publish': ['topic', `arn:aws:sns:${region}:${account}:topic`],
    'sns:Subscribe': ['topic', `arn:aws:sns:${region}:${account}:topic`],
}
// The role of the name that the key's policy knows; others have any name.
const roles = { resources: 'keybroker-resources' }

const routes = ['POST/iam/kbs/v0/register_workload', 'POST/iam/rvp/register', 'POST/kbs/v0/register_workload',
    'POST/kbs/v0/auth', 'POST/kbs/v0/attest', 'GET/iam/kbs/v0/register_workload', 'POST/iam/v1/release']

async function cases({ operator_permissions: rows, operators }) {
    const made = []
    const named = new Set(rows.map(([policy]) => policy).filter((policy) => policy !== '-' && policy !== 'builder'))
    for (const policy of new Set([...named, ...Object.keys(operators)])) {
        // Two keys are in it: move.js evaluates what it allows on each.
        const moves = policy === 'rewrap'
        const called = rows.filter(([by]) => by === policy)
        const makes = (action, on) => called.some(([, , , allowed, target]) => allowed === action && target === on)
        const mine = (what, more, allowed) => made.push({
            what: `${policy}: ${what}`,
            principal: session(roles[policy] ?? 'operator'),
            own: `operators/${policy}`,
            expected: allowed ? 'Allowed' : 'ImplicitlyDenied',
            ...more,
        })
        for (const table of tables.filter((table) => !retired.includes(table))) {
            for (const { action, resource, on, keyed } of await calls(table, ['table', 'index'])) {
                const limit = limits[`${policy} ${on}`]
                for (const keys of keyed ? leading(table) : [undefined]) {
                    const within = !limit || !keyed || action === 'dynamodb:Scan' || (keys?.every(limit) ?? false)
                    const more = { action, resource, context: keys && { 'dynamodb:LeadingKeys': keys } }
                    mine(`${action} ${on} ${keys ?? ''}`, more, makes(action, on) && within)
                }
            }
        }
        for (const [action, [on, resource]] of Object.entries(beside)) {
            mine(action, { action, resource }, makes(action, on))
            if (on === 'topic') mine(`${action} elsewhere`, { action, resource: `${resource}-other` }, false)
        }
        for (const call of await unbound()) mine(call.action, call, makes(call.action, '*'))
        for (const { action, name, bound, context, reencrypts } of await kms.actions()) {
            if (!bound || moves) continue
            const every = kms.uses.includes(name) ? kms.contexts : kms.contexts.slice(0, 1)
            const other = kms.arn.replace(/1$/, '2')
            const on = (resource) => ([what, given]) => {
                const within = !context || (contexts[policy]?.(given) ?? false)
                const denied = resource === other && pinned[policy]?.includes(action) && given.purpose !== undefined
                mine(`${name} under ${what} ${resource}`, {
                    action,
                    resource,
                    context: context ? kms.request(given, reencrypts && 'true') : undefined,
                    resourcePolicy: 'open',
                    ...(denied && { expected: 'ExplicitlyDenied' }),
                }, makes(action, 'key') && within && resource === kms.arn)
            }
            every.forEach(on(kms.arn))
            const makesIt = called.some(([, , , allowed]) => allowed === action)
            every.slice(0, makesIt ? every.length : 1).forEach(on(other))
            if (!pinned[policy]?.includes(action)) continue
            const under = (given) => ({ action, resource: other, context: kms.request(given) })
            const thiefs = `thief/${roles[policy] ?? 'operator'}`
            for (const [what, given] of kms.contexts.filter(([, given]) => given.purpose !== undefined)) {
                const more = { ...under(given), resourcePolicy: thiefs, expected: 'ExplicitlyDenied' }
                mine(`${name} under ${what} with a thief's key`, more)
            }
            // A person has other work with keys, and so has DynamoDB in their name.
            mine(`${name} for nothing of the broker's`, { ...under({}), resourcePolicy: thiefs }, true)
            const through = { ...kms.request({}), ...dynamodb }
            mine(`${name} with the tables' key`, { ...under({}), context: through, resourcePolicy: 'tablesKey' }, true)
        }
        // With the deployment's own policies the calls are allowed, too. No guarded table is written to.
        for (const [, command, , action, on] of called) {
            const [service] = action.split(':')
            if ((moves && service === 'kms') || !['dynamodb', 'kms'].includes(service)) continue
            const [table, ...index] = on.split('/')
            const limited = { keys: [policy === 'keys' ? 'session' : 'signature'], workloads: ['billing-7f3a'] }[table]
            const purpose = policy === 'signing-keys' ? { purpose: 'keybroker/signature' } : kms.secret
            const used = kms.uses.includes(action.replace('kms:', ''))
            const keyed = (await calls(table)).some((call) => call.action === action && call.on === on && call.keyed)
            mine(`${command} ${action} ${on}`, service === 'kms'
                ? {
                    action,
                    resource: kms.arn,
                    resourcePolicy: 'key',
                    context: used ? kms.request(purpose, action.includes('ReEncrypt') && 'true') : undefined,
                }
                : {
                    action,
                    resource: [arn(table), ...index].join('/'),
                    resourcePolicy: guarded.includes(table) ? `tables/${table}` : undefined,
                    context: keyed && limited && action !== 'dynamodb:Scan'
                        ? { 'dynamodb:LeadingKeys': limited } : undefined,
                }, true)
        }
    }
    const registers = rows.filter(([policy]) => policy === 'builder').map(([, , method, , on]) => `${method}/${on}`)
    const build = (action, api, route, allowed) => made.push({
        what: `builder: ${action} ${api} ${route}`,
        principal: role('builder'),
        own: 'other/builder',
        action,
        resource: `arn:aws:execute-api:${region}:${account}:${api}/$default/${route}`,
        expected: allowed ? 'Allowed' : 'ImplicitlyDenied',
    })
    for (const route of routes) {
        build('execute-api:Invoke', 'Api', route, registers.includes(route))
        build('execute-api:Invoke', 'other', route, false)
        build('execute-api:InvalidateCache', 'Api', route, false)
    }
    return made
}

module.exports = { cases }
