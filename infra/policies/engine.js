// Decides as AWS would, by an engine that AWS did not write. A case names the call, the policies that decide it
// and the answer that is right:
//
//   what            for the person who reads a failure
//   principal       an ARN, or a service as {service}
//   action, resource, context
//   own             the caller's policy, by its name in the set; without one the caller may do everything
//   resourcePolicy  the policy of what is called, by name, if it has one; thief/ROLE is that of a key for a role
//   organisation    the service control policy, by name, if there is one
//   expected        Allowed, ImplicitlyDenied or ExplicitlyDenied
const { runSimulation } = require('@cloud-copilot/iam-simulate')
const {
    createValidatedPolicy, validateIdentityPolicy, validateResourcePolicy, validateServiceControlPolicy,
} = require('@cloud-copilot/iam-policy')

const account = '123456789012'
const region = 'us-east-1'
const everything = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] }
// A resource's policy that leaves the decision to the caller's own.
const open = {
    Version: '2012-10-17',
    Statement: [{
        Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${account}:root` }, Action: 'kms:*', Resource: '*',
    }],
}

// The policy of a key that a thief made for the sessions of one role: it alone lets them use the key.
const thief = (name) => ({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { AWS: role(name) }, Action: 'kms:*', Resource: '*' }],
})

// The policy of the tables' own key (TableKeyArn): whoever uses a table uses it, through DynamoDB.
const dynamodb = { 'kms:ViaService': `dynamodb.${region}.amazonaws.com` }
const tablesKey = {
    Version: '2012-10-17',
    Statement: [{
        Effect: 'Allow', Principal: { AWS: '*' }, Action: 'kms:*', Resource: '*', Condition: { StringEquals: dynamodb },
    }],
}

// The policies that no file has. A thief's is for the role that its name ends with.
const own = { everything, open, tablesKey }
const general = (name) => {
    const [, robbed] = /^thief\/(.+)$/.exec(name) ?? []
    return own[name] ?? (robbed && (own[name] = thief(robbed)))
}

const role = (name) => `arn:aws:iam::${account}:role/${name}`
const session = (name) => `arn:aws:sts::${account}:assumed-role/${name}/${name}`

// AWS's value of aws:PrincipalArn: for a session it is the ARN of its role. The engine leaves it to its caller.
const assumed = /^arn:aws:sts::(\d+):assumed-role\/([^/]+)\/.*$/
const principalArn = (principal) => principal.replace(assumed, 'arn:aws:iam::$1:role/$2')

// A policy is validated once and not for each decision.
const validated = new Map([
    [validateIdentityPolicy, new WeakMap()],
    [validateResourcePolicy, new WeakMap()],
    [validateServiceControlPolicy, new WeakMap()],
])
function valid(policy, validate) {
    const known = validated.get(validate)
    if (!known.has(policy)) known.set(policy, createValidatedPolicy(policy, validate))
    return known.get(policy)
}

// The engine leaves out what an action does not know. Only these may be left out: each request has them.
const alwaysThere = ['aws:PrincipalArn', 'aws:PrincipalIsAWSService']

async function decide(policies, one) {
    const { principal, action, resource } = one
    const context = typeof principal === 'string'
        ? { 'aws:PrincipalArn': principalArn(principal), 'aws:PrincipalIsAWSService': 'false' }
        : { 'aws:PrincipalIsAWSService': 'true' }
    const get = (name) => {
        const policy = policies[name] ?? general(name)
        if (policy === undefined) throw new Error(`there is no policy ${name}`)
        return policy
    }
    const own = valid(get(one.own ?? 'everything'), validateIdentityPolicy)
    const answer = await runSimulation({
        request: {
            principal: typeof principal === 'string' ? principal : principal.service,
            action,
            resource: { resource, accountId: account },
            contextVariables: { ...context, ...one.context },
        },
        identityPolicies: typeof principal === 'string' ? [{ name: 'own', policy: own }] : [],
        serviceControlPolicies: one.organisation
            ? [{
                orgIdentifier: 'ou-1',
                policies: ['everything', one.organisation].map((name) => ({
                    name, policy: valid(get(name), validateServiceControlPolicy),
                })),
            }] : [],
        resourceControlPolicies: [],
        resourcePolicy: one.resourcePolicy && valid(get(one.resourcePolicy), validateResourcePolicy),
    }, {})
    if (answer.resultType !== 'single') return JSON.stringify(answer.errors ?? answer.resultType)
    const ignored = answer.result.ignoredContextKeys.filter((name) => !alwaysThere.includes(name))
    return ignored.length ? `the engine ignores ${ignored}` : answer.overallResult
}

module.exports = { account, decide, dynamodb, region, role, session }
