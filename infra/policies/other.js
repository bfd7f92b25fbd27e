// The policies for what is beside the broker: traces of the functions, and the topic of what watches them.
const { account, region, role, session } = require('./engine')

const topic = `arn:aws:sns:${region}:${account}:keybroker-watch`

async function cases() {
    const traces = ['PutTraceSegments', 'PutTelemetryRecords', 'GetTraceGraph', 'PutEncryptionConfig', 'GetSamplingRules']
    const traced = traces.map((action) => ({
        what: `a traced function, ${action}`,
        principal: session('keybroker-attest'),
        own: 'other/traces',
        action: `xray:${action}`,
        resource: '*',
        expected: action.startsWith('Put') && action !== 'PutEncryptionConfig' ? 'Allowed' : 'ImplicitlyDenied',
    }))
    const published = []
    const publish = (service, of, expected, action = 'Publish') => published.push({
        what: `${service} of ${of}, ${action}`,
        principal: { service: `${service}.amazonaws.com` },
        action: `sns:${action}`,
        resource: topic,
        resourcePolicy: 'other/topic',
        context: of && { 'aws:SourceAccount': of },
        expected,
    })
    // EventBridge publishes under no condition, so its rules of other accounts may, too.
    for (const [service, elsewhere] of [['events', 'Allowed'], ['cloudwatch', 'ImplicitlyDenied']]) {
        publish(service, account, 'Allowed')
        publish(service, '210987654321', elsewhere)
        publish(service, undefined, elsewhere)
        publish(service, account, 'ImplicitlyDenied', 'Subscribe')
    }
    publish('s3', account, 'ImplicitlyDenied')
    const nobody = {
        what: 'an administrator publishes by a policy of their own alone',
        principal: role('admin'),
        action: 'sns:Publish',
        resource: topic,
        resourcePolicy: 'other/topic',
        expected: 'Allowed',
    }
    return [...traced, ...published, nobody]
}

module.exports = { cases }
