/* Part of others: the lane of an event, which is an object, a user or a node. */
case $by
    when 'objects' then resource || coalesce('/' || coalesce(name, object_name), '')
        || case when $namespace is null and namespace is not null then ' · ' || namespace else '' end
    when 'users' then coalesce(actor, 'nobody')
    else case
        when username like 'system:node:%' then substr(username, 13)
        when resource = 'nodes' then coalesce(name, object_name)
    end
end
