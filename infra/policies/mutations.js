// Every part of every policy matters: with any statement, condition, action, resource or value taken out, and with
// actions or resources made everything, some decision is another. A policy that was wrong in that way would be
// found, and so no case holds by chance.

// The ways to alter a statement: what is done, whether more calls match the statement then, and the statement.
function* altered(statement) {
    const actions = [statement.Action].flat()
    const resources = [statement.Resource ?? []].flat()
    const condition = statement.Condition ?? {}
    const without = (list, one) => list.filter((other) => other !== one)
    if (actions.length > 1) {
        for (const action of actions) yield [`without ${action}`, false, { ...statement, Action: without(actions, action) }]
    }
    if (resources.length > 1) {
        for (const one of resources) yield [`without ${one}`, false, { ...statement, Resource: without(resources, one) }]
    }
    for (const [operator, tests] of Object.entries(condition)) {
        for (const [name, values] of Object.entries(tests)) {
            const changed = (test) => {
                const { [name]: _, ...rest } = tests
                const { [operator]: __, ...others } = condition
                const left = test === undefined ? rest : { ...rest, [name]: test }
                const Condition = Object.keys(left).length ? { ...others, [operator]: left } : others
                return { ...statement, Condition }
            }
            yield [`without ${operator} ${name}`, true, changed(undefined)]
            if (!Array.isArray(values) || values.length < 2) continue
            for (const value of values) {
                const negated = operator.includes('Not')
                yield [`without ${operator} ${name} ${value}`, negated, changed(without(values, value))]
            }
        }
    }
    const services = [...new Set(actions.map((action) => action.split(':')[0]))]
    yield ['with every action', true, { ...statement, Action: services.map((service) => `${service}:*`) }]
    if (!resources.includes('*') && resources.length) {
        yield ['with every resource', true, { ...statement, Resource: '*' }]
    }
    if (statement.NotResource) {
        const { NotResource: spared, ...others } = statement
        if (Array.isArray(spared)) {
            for (const one of spared) yield [`without ${one}`, true, { ...statement, NotResource: without(spared, one) }]
        }
        yield ['with every resource', true, { ...others, Resource: '*' }]
    }
}

// Every altered form of the policy: what was done, the actions that it can matter to (undefined: all), whether
// more is allowed then, and the policy. Statements of `base`, which has mutations of its own, stay as they are.
function* mutations(policy, base) {
    const statements = [policy.Statement].flat()
    const known = new Set([base?.Statement ?? []].flat().map((statement) => JSON.stringify(statement)))
    for (const [number, statement] of statements.entries()) {
        if (known.has(JSON.stringify(statement))) continue
        const name = statement.Sid ?? `statement ${number + 1}`
        const actions = [statement.Action].flat()
        const allows = statement.Effect === 'Allow'
        const replaced = (made) => ({ ...policy, Statement: statements.map((one, at) => (at === number ? made : one)) })
        // A policy needs a statement.
        const nothing = { ...statement, Action: [`${actions[0].split(':')[0]}:ListNothing`] }
        yield [`no ${name}`, actions, !allows, replaced(nothing)]
        for (const [how, more, one] of altered(statement)) {
            yield [`${name} ${how}`, how === 'with every action' ? undefined : actions, more === allows, replaced(one)]
        }
    }
}

module.exports = { mutations }
