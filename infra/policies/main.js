// Evaluates every case of every suite, and then that every part of every policy matters to one. Its argument is
// what policies.py printed.
const { readFileSync } = require('node:fs')
const { decide } = require('./engine')
const { mutations } = require('./mutations')
const equivalent = require('./equivalent')

const suites = ['functions', 'key', 'move', 'tables', 'organisation', 'operators', 'other']

// The policies of all kinds by their names, as cases have them. One of a move is named after that without.
const without = (name) => (name === 'moving' ? 'key' : name.replace(/-moving$/, ''))
function named({ key, tables, trust, functions, other, operators, organisation }) {
    const policies = { key: key.key, moving: key.moving, organisation }
    for (const [kind, some] of Object.entries({ tables, trust, functions, other, operators })) {
        for (const [name, policy] of Object.entries(some)) policies[`${kind}/${name}`] = policy
    }
    return policies
}

const decidedBy = ({ own, resourcePolicy, organisation }) => [own, resourcePolicy, organisation].filter(Boolean)

// The first case that the altered policy decides otherwise.
async function noticed(policies, cases, name, [, actions, more, policy]) {
    const some = cases.filter((one) => decidedBy(one).includes(name) && (actions?.includes(one.action) ?? true))
    // Those that it can change come first.
    const allowed = (one) => one.expected === 'Allowed'
    const likely = some.filter((one) => allowed(one) !== more)
    for (const one of [...likely, ...some.filter((one) => allowed(one) === more)]) {
        if (await decide({ ...policies, [name]: policy }, one) !== one.expected) return one
    }
    return undefined
}

async function main() {
    const made = JSON.parse(readFileSync(process.argv[2], 'utf8'))
    const policies = named(made)
    const failures = []
    const cases = (await Promise.all(suites.map((suite) => require(`./${suite}`).cases(made)))).flat()
    for (const one of cases) {
        const found = await decide(policies, one)
        if (found !== one.expected) failures.push(`${one.what}: expected ${one.expected}, found ${found}`)
    }
    for (const name of Object.keys(policies)) {
        if (!cases.some((one) => decidedBy(one).includes(name))) failures.push(`nothing evaluates the policy ${name}`)
    }
    let count = 0
    const stale = new Set(Object.keys(equivalent))
    for (const [name, policy] of failures.length ? [] : Object.entries(policies)) {
        for (const mutation of mutations(policy, without(name) === name ? undefined : policies[without(name)])) {
            const what = `${name}: ${mutation[0]}`
            const known = stale.has(what)
            count += 1
            const one = await noticed(policies, cases, name, mutation)
            if (!one && !known) failures.push(`nothing notices ${what}`)
            if (!one) stale.delete(what)
        }
    }
    if (!failures.length) stale.forEach((what) => failures.push(`equivalent.js is stale: ${what}`))
    for (const failure of failures) console.log(`FAIL  ${failure}`)
    if (failures.length) process.exit(1)
    const same = Object.keys(equivalent).length
    console.log(`infra: ${cases.length} decisions are as they should be`)
    console.log(`infra: ${count - same} of ${count} alterations of ${Object.keys(policies).length} policies are noticed; the ` +
        `other ${same} change nothing`)
}
main()
