// While secrets move from one key to another: the policy of both keys, the role's own, and the organisation's. No
// condition of KMS says where a re-encryption goes to, so the last two must. The functions use both keys.
const { role, session } = require('./engine')
const { arn, broker, byOwnPolicy, contexts, request, secret, uses } = require('./key')

const [old, next, third] = ['1', '2', '3'].map((id) => arn.replace(/1$/, id))
const within = '2026-12-01T17:59:59Z'
const moved = ['a secret', ...broker]
const reencrypts = (use) => use.startsWith('ReEncrypt')
const asked = (context, same, time = within) => ({ ...request(context, same), 'aws:CurrentTime': time })

async function cases({ permissions }) {
    const made = byOwnPolicy(permissions, (name) => `functions/${name}-moving`, [old, next])
    const call = (name, what, more, expected) =>
        made.push({ what: `moving: ${name} ${what}`, principal: session(`keybroker-${name}`), expected, ...more })
    // Either key, by its policy alone: the role moves what the broker wraps, for a time, and can do nothing else.
    // For the others nothing changes.
    for (const name of ['rewrap', 'rewrap2', 'register', 'attest', 'resources', 'other']) {
        for (const [what, context, may] of contexts) {
            for (const use of uses) {
                for (const same of reencrypts(use) ? ['true', 'false'] : [undefined]) {
                    const moves = name === 'rewrap' && same === 'false' && moved.includes(what)
                    const before = same !== 'false' && (may[name] ?? may[{ rewrap: 'other', rewrap2: 'other' }[name]])
                    const allowed = moves || (before && before.includes(use))
                    call(name, `${use} under ${what}, same key ${same}`, {
                        action: `kms:${use}`, resource: old, resourcePolicy: 'moving',
                        context: reencrypts(use) ? asked(context, same) : request(context),
                    }, allowed ? 'Allowed' : 'ImplicitlyDenied')
                }
            }
        }
    }
    for (const [what, context] of contexts.filter(([what]) => moved.includes(what))) {
        for (const use of uses.filter(reencrypts)) {
            const mine = (how, resourcePolicy, more) => call('rewrap', `${use} under ${what}, ${how}`, {
                action: `kms:${use}`, resource: old, resourcePolicy, context: asked(context, 'false', more),
            }, 'ImplicitlyDenied')
            mine('once the time is over', 'moving', '2026-12-01T18:00:00Z')
            mine('with no move', 'key')
            call('rewrap', `${use} under ${what}, without a word about the same key`, {
                action: `kms:${use}`, resource: old, resourcePolicy: 'moving', context: asked(context),
            }, 'ImplicitlyDenied')
        }
    }
    // Under the role's own policy, from the old key to the new one, and nowhere else: not even with a key whose own
    // policy lets the role do everything.
    const own = (use, resource, resourcePolicy, expected) => call('rewrap', `${use} ${resource} ${resourcePolicy}`, {
        own: 'operators/rewrap', action: `kms:${use}`, resource, resourcePolicy,
        context: reencrypts(use) ? asked(secret, 'false') : undefined,
    }, expected)
    for (const resourcePolicy of ['moving', 'open', 'thief/keybroker-rewrap']) {
        own('ReEncryptFrom', old, resourcePolicy, 'Allowed')
        own('ReEncryptTo', next, resourcePolicy, 'Allowed')
        for (const resource of [next, third]) own('ReEncryptFrom', resource, resourcePolicy, 'ExplicitlyDenied')
        for (const resource of [old, third]) own('ReEncryptTo', resource, resourcePolicy, 'ExplicitlyDenied')
    }
    for (const resource of [old, next, third]) {
        own('DescribeKey', resource, 'open', resource === third ? 'ImplicitlyDenied' : 'Allowed')
        for (const action of ['CreateGrant', 'PutKeyPolicy', 'DisableKey', 'EnableKey', 'GetKeyPolicy']) {
            own(action, resource, 'open', 'ImplicitlyDenied')
        }
    }
    for (const action of ['Encrypt', 'Decrypt', 'GenerateDataKey']) {
        for (const resource of [old, next, third]) {
            call('rewrap', `${action} ${resource}`, {
                own: 'operators/rewrap', action: `kms:${action}`, resource, resourcePolicy: 'open',
                context: request(secret),
            }, 'ImplicitlyDenied')
        }
    }
    // In the organisation, whatever the role's own policy says.
    for (const [resource, expected] of [[old, 'Allowed'], [next, 'Allowed'], [third, 'ExplicitlyDenied']]) {
        for (const resourcePolicy of ['open', 'thief/keybroker-rewrap']) {
            const more = { action: 'kms:ReEncryptTo', resource, organisation: 'organisation', context: asked(secret, 'false') }
            call('rewrap', `to ${resource} ${resourcePolicy}, in the organisation`, { ...more, resourcePolicy }, expected)
        }
        call('rewrap', `from ${resource}, in the organisation`, {
            action: 'kms:ReEncryptFrom', resource, resourcePolicy: 'open', organisation: 'organisation',
            context: asked(secret, 'false'),
        }, 'Allowed')
        call('other', `to ${resource}, in the organisation`, {
            principal: role('other'), action: 'kms:ReEncryptTo', resource, resourcePolicy: 'open',
            organisation: 'organisation', context: asked(secret, 'false'),
        }, 'Allowed')
    }
    return made
}

module.exports = { cases }
