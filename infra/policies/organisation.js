// The organisation's policy: administrators cannot become attest, nor change what keeps them out, while one role
// deploys. What is not the broker's stays as it was.
const { account, region, role } = require('./engine')
const { arn, writes } = require('./dynamodb')
const { administrators, attest } = require('./tables')

const lambda = (name) => `arn:aws:lambda:${region}:${account}:function:${name}`
const stack = (name) => `arn:aws:cloudformation:${region}:${account}:stack/${name}/1`
const gateway = (path) => `arn:aws:apigateway:${region}::/${path}`
// The two keys of a move, and one that only the alias makes the broker's.
const [old, next, key] = ['1', '2', '3'].map((id) => `arn:aws:kms:${region}:${account}:key/${id}`)

const alias = (name) => `arn:aws:kms:${region}:${account}:alias/${name}`

// What takes a key over, or away.
const taking = [
    'CreateGrant', 'DisableKey', 'PutKeyPolicy', 'ReplicateKey', 'ScheduleKeyDeletion', 'UpdatePrimaryRegion',
]

// The ways that it leaves to one role: actions, what they are on, and what else a call needs to be one.
const ways = [
    [
        [
            'AttachRolePolicy', 'CreateRole', 'DeleteRole', 'DeleteRolePermissionsBoundary', 'DeleteRolePolicy',
            'DetachRolePolicy', 'PassRole', 'PutRolePermissionsBoundary', 'PutRolePolicy', 'UpdateAssumeRolePolicy',
            'UpdateRole',
        ].map((name) => `iam:${name}`).concat('sts:AssumeRole'),
        ['register', 'auth', 'attest', 'resources', 'rewrap'].map((name) => role(`keybroker-${name}`)),
        [role('other')],
    ],
    [
        ['AddPermission', 'CreateFunction', 'DeleteFunction', 'UpdateFunctionCode', 'UpdateFunctionConfiguration']
            .map((name) => `lambda:${name}`),
        ['register', 'auth', 'attest', 'another'].map((name) => lambda(`keybroker-${name}`)),
        [lambda('other')],
    ],
    [
        // A bucket that is deleted can be made again by another account.
        ['DeleteBucket', 'PutBucketAcl', 'PutBucketPolicy'].map((name) => `s3:${name}`),
        ['arn:aws:s3:::BUCKET'],
        ['arn:aws:s3:::BUCKET2'],
    ],
    [
        ['s3:PutObject', 's3:ReplicateObject'],
        ['arn:aws:s3:::BUCKET/0123456789abcdef'],
        ['arn:aws:s3:::BUCKET2/0123456789abcdef'],
    ],
    [
        // With a service role CloudFormation acts as that role for whoever may change the stack.
        [
            'ContinueUpdateRollback', 'CreateChangeSet', 'CreateStack', 'DeleteStack', 'ExecuteChangeSet',
            'RollbackStack', 'UpdateStack',
        ].map((name) => `cloudformation:${name}`),
        ['keybroker', 'keybroker-storage'].map(stack),
        ['keybroker-watch', 'other'].map(stack),
    ],
    [
        // policies.py renames the paths.
        ['DELETE', 'PATCH', 'PUT'].map((name) => `apigateway:${name}`),
        ['restapis/API'].map(gateway),
        ['restapis/API2'].map(gateway),
    ],
    [
        ['DELETE', 'PATCH'].map((name) => `apigateway:${name}`),
        ['restapis/API/resources/1', 'domainnames/DOMAIN', 'domainnames/DOMAIN/basepathmappings/1'].map(gateway),
        ['restapis/API2/resources/1', 'domainnames/DOMAIN2', 'domainnames/DOMAIN2/basepathmappings/1'].map(gateway),
    ],
    [
        ['apigateway:POST'],
        ['restapis/API/requestvalidators', 'domainnames/DOMAIN/basepathmappings'].map(gateway),
        ['restapis/API2/requestvalidators', 'domainnames/DOMAIN2/basepathmappings'].map(gateway),
    ],
    [
        ['DeleteResourcePolicy', 'DeleteTable', 'PutResourcePolicy', 'UpdateTable'].map((name) => `dynamodb:${name}`),
        [arn('decisions')],
        [arn('2-decisions'), arn('audit')],
    ],
    [
        taking.map((name) => `kms:${name}`),
        [key],
        [],
        { 'kms:ResourceAliases': ['alias/keybroker', 'alias/second'] },
    ],
    [
        taking.map((name) => `kms:${name}`),
        [old, next],
        [],
    ],
    [
        // An alias that leads to a key of the thief's own takes new secrets there.
        ['kms:CreateAlias', 'kms:DeleteAlias', 'kms:UpdateAlias'],
        [alias('keybroker')],
        [alias('keybroker2'), alias('second')],
    ],
]

async function cases() {
    const made = []
    const call = (expected, principal, action, resource, context) => made.push({
        what: `${principal} ${action} ${resource}, in the organisation`,
        principal, action, resource, context, organisation: 'organisation', expected,
        // A key needs a policy that leaves the decision to the caller's.
        resourcePolicy: resource.includes(':key/') ? 'open' : undefined,
    })
    for (const [actions, on, elsewhere, context] of ways) {
        for (const action of actions) {
            for (const resource of on) {
                call('ExplicitlyDenied', role('admin'), action, resource, context)
                call('ExplicitlyDenied', role('keybroker-attest'), action, resource, context)
                call('Allowed', role('keybroker-deploy'), action, resource, context)
            }
            for (const resource of elsewhere) call('Allowed', role('admin'), action, resource, context)
        }
    }
    // Looking is nobody's privilege.
    call('Allowed', role('admin'), 'iam:GetRole', role('keybroker-attest'))
    call('Allowed', role('admin'), 'lambda:GetFunction', lambda('keybroker-attest'))
    call('Allowed', role('admin'), 's3:GetObject', 'arn:aws:s3:::BUCKET/0123456789abcdef')
    call('Allowed', role('admin'), 'cloudformation:DescribeStacks', stack('keybroker'))
    call('Allowed', role('admin'), 'apigateway:GET', gateway('restapis/API'))
    call('Allowed', role('admin'), 'kms:DescribeKey', key, { 'kms:ResourceAliases': ['alias/keybroker'] })
    // Each call on an alias asks on its keys, too.
    for (const name of ['CreateAlias', 'DeleteAlias', 'UpdateAlias']) {
        for (const one of [old, key]) call('Allowed', role('admin'), `kms:${name}`, one)
    }
    for (const name of taking) {
        for (const aliases of [['alias/second'], undefined]) {
            call('Allowed', role('admin'), `kms:${name}`, key, aliases && { 'kms:ResourceAliases': aliases })
        }
    }
    for (const action of writes.map((name) => `dynamodb:${name}`)) {
        for (const principal of [...administrators, role('keybroker-deploy')]) {
            call('ExplicitlyDenied', principal, action, arn('decisions'))
        }
        for (const principal of attest) call('Allowed', principal, action, arn('decisions'))
        call('Allowed', role('admin'), action, arn('audit'))
    }
    for (const action of ['dynamodb:GetItem', 'dynamodb:Scan', 'dynamodb:DescribeTable', 'dynamodb:GetResourcePolicy']) {
        call('Allowed', role('admin'), action, arn('decisions'))
    }
    return made
}

module.exports = { cases }
